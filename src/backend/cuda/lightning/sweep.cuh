// The lightning attention sweep on sm_90a (docs/kernels/lightning_sm90.md).
//
// A worker is one warpgroup that owns 64 columns of V. It keeps Sᵀ[64, K] in registers in fp32 and
// walks over the chunks of one sequence and head:
//   P  = q kᵀ, masked and decayed                               [64 queries, 64 keys]
//   Oᵀ = decay · Sᵀ qᵀ + Vᵀ Pᵀ                                  [64 values, 64 queries]
//   Sᵀ = λ^64 Sᵀ + (Vᵀ · decay) k                               [64 values, K]
// All products have M = 64 with A in registers (P: in shared memory). The other warpgroup loads.
#pragma once

#include "backend/cuda/lightning/params.cuh"
#include "backend/cuda/lightning/sweep_config.h"
#include "backend/cuda/lightning/worker.cuh"
#include "backend/cuda/ptx/sync.cuh"
#include "backend/cuda/ptx/tma.cuh"
#include "backend/cuda/tile/decay_table.cuh"
#include "backend/cuda/tile/ring.cuh"

namespace tnl::cuda {

// Whole sequences of one length; the calls of a sequence and head lie side by side.
__device__ __forceinline__ WorkItem uniform_item(const SweepParams& params, int index) {
  WorkItem item;
  item.call = index % params.call_count;
  item.head = index / params.call_count % params.heads;
  item.sequence = item.batch = index / params.call_count / params.heads;
  const SweepCall& call = params.calls[item.call];
  item.tokens = params.tokens;
  item.row = call.reverse ? params.tokens : 0;
  item.state_in = call.state_in.data != nullptr ? kCallerState : kNoState;
  item.state_out = call.state_out.data != nullptr ? kCallerState : kNoState;
  return item;
}

// One thread: brings in chunk after chunk as the stages fall free.
template <class Config>
__device__ __forceinline__ void load_chunks(const SweepCall& call, const WorkItem& item,
                                            int first_value_tile, int rank, int chunks,
                                            std::uint32_t tiles,
                                            const RingBarriers<Config::kStages>& barriers) {
  RingPosition<Config::kStages> at;
  for (int c = 0; c < chunks; ++c, at.advance()) {
    if (c >= Config::kStages) ptx::mbarrier_wait(barriers.empty_at(at.stage), at.parity ^ 1);
    const std::uint32_t full = barriers.full_at(at.stage);
    const std::uint32_t q = tiles + at.stage * Config::kStageBytes;
    const std::uint32_t k = q + Config::kKeyBytes, v = k + Config::kKeyBytes;
    const bool with_output = c >= item.warm_chunks;
    ptx::mbarrier_arrive_expect(full,
                                (with_output ? 2 : 1) * Config::kKeyBytes + Config::kValueBytes);
    ptx::TileOrigin origin{0, item.row + (call.reverse ? -(c + 1) : c) * kChunk, item.head,
                           item.batch};
#pragma unroll
    for (int tile = 0; tile < Config::kKeyTiles; ++tile) {
      origin.column = tile * kTile;
      const std::uint32_t offset = tile * Config::kTileBytes;
      if constexpr (Config::kCluster == 1) {
        ptx::tma_load(k + offset, &call.k, full, origin);
        if (with_output) ptx::tma_load(q + offset, &call.q, full, origin);
      } else if (tile % Config::kCluster == rank) {
        constexpr std::uint16_t kEveryone = (1 << Config::kCluster) - 1;
        ptx::tma_load_multicast(k + offset, &call.k, full, origin, kEveryone);
        if (with_output) ptx::tma_load_multicast(q + offset, &call.q, full, origin, kEveryone);
      }
    }
#pragma unroll
    for (int worker = 0; worker < Config::kWorkers; ++worker) {
      origin.column = (first_value_tile + worker) * kTile;
      ptx::tma_load(v + worker * Config::kTileBytes, &call.v, full, origin);
    }
  }
}

template <class T, class Config>
__global__ void __launch_bounds__(Config::kThreads, Config::kBlocksPerSm)
    sweep_kernel(const __grid_constant__ SweepParams params) {
  extern __shared__ std::uint8_t dynamic_shared[];
  __shared__ DecayTable table;
  __shared__ RingBarriers<Config::kStages> barriers;
  const std::uint32_t tiles = (ptx::shared_address(dynamic_shared) + 1023) & ~1023u;

  const int group = blockIdx.x / params.blocks_per_item;
  const int block = blockIdx.x % params.blocks_per_item;
  const WorkItem item =
      params.work != nullptr ? params.work[group] : uniform_item(params, group);
  const SweepCall& call = params.calls[item.call];
  const int thread = threadIdx.x;
  const int output_chunks = (item.tokens + kChunk - 1) / kChunk;
  const int chunks = item.warm_chunks + output_chunks;
  const int last_tokens = output_chunks == 0 ? kChunk : item.tokens - (output_chunks - 1) * kChunk;

  if (thread == 0) barriers.init(4 * Config::kWorkers * Config::kCluster);
  if (thread < 128) {
    const HeadDecay decay =
        params.decay != nullptr ? params.decay[item.head] : params.inline_decay[item.head];
    fill_decay_table(table, decay, call, last_tokens, thread);
  }
  __syncthreads();
  if constexpr (Config::kCluster > 1) ptx::cluster_barrier();

  const int first_value_tile = block * Config::kWorkers;
  if (thread >= Config::kWorkers * 128) {
    ptx::give_registers<Config::kLoadRegisters>();
    if (thread == Config::kWorkers * 128) {
      load_chunks<Config>(call, item, first_value_tile, block % Config::kCluster, chunks, tiles,
                          barriers);
    }
  } else {
    ptx::take_registers<Config::kMathRegisters>();
    const int worker = Config::kWorkers == 1 ? 0 : thread / 128;
    compute_chunks<T, Config>(params, call, item, table, barriers, tiles, worker,
                              first_value_tile + worker, chunks, last_tokens);
  }
  // No block leaves while another may still write to its shared memory.
  if constexpr (Config::kCluster > 1) {
    __syncwarp();
    ptx::cluster_barrier();
  }
}

}  // namespace tnl::cuda
