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

// Past the first-level cache: a kernel that overlaps this one may have written the table.
__device__ __forceinline__ WorkItem load_item(const WorkItem* from) {
  WorkItem item;
  const int* words = reinterpret_cast<const int*>(from);
  int* to = reinterpret_cast<int*>(&item);
#pragma unroll
  for (int i = 0; i < static_cast<int>(sizeof(WorkItem) / 4); ++i) to[i] = __ldcg(words + i);
  return item;
}

// One thread: brings chunk c into a stage.
template <class Config>
__device__ __forceinline__ void load_chunk(const Block<Config>& block, int first_value_tile, int c,
                                           int stage) {
  const SweepCall& call = block.call;
  const WorkItem& item = block.item;
  const std::uint32_t full = block.ring.full_at(stage);
  const std::uint32_t q = block.stage(stage);
  const std::uint32_t k = q + Config::kKeyBytes, v = k + Config::kKeyBytes;
  const bool with_output = c >= item.warm_chunks;
  ptx::mbarrier_arrive_expect(full,
                              (with_output ? 2 : 1) * Config::kKeyBytes + Config::kValueBytes);
  ptx::TileOrigin origin{0, item.row + (call.reverse ? -(c + 1) : c) * kChunk, item.head,
                         item.batch};
#pragma unroll
  for (int tile = 0; tile < Config::kKeyTiles; ++tile) {
    origin.column = tile * kTile;
    ptx::tma_load(k + tile * Config::kTileBytes, &call.k, full, origin);
    if (with_output) ptx::tma_load(q + tile * Config::kTileBytes, &call.q, full, origin);
  }
#pragma unroll
  for (int worker = 0; worker < Config::kWorkers; ++worker) {
    origin.column = (first_value_tile + worker) * kTile;
    ptx::tma_load(v + worker * Config::kTileBytes, &call.v, full, origin);
  }
}

template <class T, class Config>
__global__ void __launch_bounds__(Config::kThreads, Config::kBlocksPerSm)
    sweep_kernel(const __grid_constant__ SweepParams params) {
  extern __shared__ std::uint8_t dynamic_shared[];
  __shared__ DecayTable table;
  __shared__ RingBarriers<Config::kStages> ring;
  __shared__ RingBarriers<2> scores;

  if (params.await_tables) ptx::wait_for_previous_grid();
  const int group = blockIdx.x / params.blocks_per_item;
  const int first_value_tile = blockIdx.x % params.blocks_per_item * Config::kWorkers;
  const WorkItem item =
      params.work != nullptr ? load_item(params.work + group) : uniform_item(params, group);
  const SweepCall& call = params.calls[item.call];
  const int output_chunks = (item.tokens + kChunk - 1) / kChunk;
  const Block<Config> block{
      params,
      call,
      item,
      table,
      ring,
      scores,
      (ptx::shared_address(dynamic_shared) + 1023) & ~1023u,
      item.warm_chunks + output_chunks,
      output_chunks == 0 ? kChunk : item.tokens - (output_chunks - 1) * kChunk};

  constexpr int kLoader = (Config::kWorkers + Config::kScorers) * 128;  // the thread that loads
  const int thread = threadIdx.x, role = thread / 128;
  if (thread == kLoader) {
    ring.init(1, 4 * (Config::kWorkers + Config::kScorers));
    scores.init(4, 4 * Config::kWorkers);
    ptx::fence_proxy_async();
    // The first chunks are under way before anybody else is ready.
    for (int c = 0; c < min(Config::kStages, block.chunks); ++c) {
      load_chunk<Config>(block, first_value_tile, c, c);
    }
  }
  if (thread < 128) {
    const HeadDecay decay =
        params.decay != nullptr ? params.decay[item.head] : params.inline_decay[item.head];
    fill_decay_table(table, decay, call, block.last_tokens, thread);
  }
  __syncthreads();
  if (item.state_out >= 0) ptx::launch_next_grid();  // a state pass: let the scan get ready

  if (role < Config::kWorkers) {
    ptx::take_registers<Config::kWorkerRegisters>();
    const int worker = Config::kWorkers == 1 ? 0 : role;
    compute_chunks<T, Config>(block, worker, first_value_tile + worker);
  } else if (Config::kScorers > 0 && role == Config::kWorkers) {
    ptx::give_registers<Config::kScorerRegisters>();
    if constexpr (Config::kScorers > 0) score_chunks<T, Config>(block);
  } else {
    ptx::give_registers<Config::kLoaderRegisters>();
    if (thread == kLoader) {
      RingPosition<Config::kStages> at;
      for (int c = Config::kStages; c < block.chunks; ++c, at.advance()) {
        ptx::mbarrier_wait(block.ring.empty_at(at.stage), at.parity);
        load_chunk<Config>(block, first_value_tile, c, at.stage);
      }
    }
  }
}

}  // namespace tnl::cuda
