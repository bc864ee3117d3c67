// The lightning attention sweep on sm_90a (docs/kernels/sweep.md).
//
// A worker is one warpgroup that owns 64 columns of V. It keeps Sᵀ[64, K] in registers in fp32 and
// walks over the chunks of one sequence and head:
//   P  = q kᵀ, masked and decayed                               [64 queries, 64 keys]
//   Oᵀ = decay · Sᵀ qᵀ + Vᵀ Pᵀ                                  [64 values, 64 queries]
//   Sᵀ = λ^64 Sᵀ + (Vᵀ · decay) k                               [64 values, K]
// All products have M = 64 with A in registers (P: in shared memory). The other warpgroup loads.
#pragma once

#include "backend/cuda/lightning/block.cuh"
#include "backend/cuda/lightning/scorer.cuh"
#include "backend/cuda/lightning/worker_loops.cuh"
#include "backend/cuda/ptx/sync.cuh"
#include "backend/cuda/ptx/tma.cuh"

namespace tnl::cuda {

// The loader's first warp, all of it, so that what is the same for the warp stays in its uniform
// registers; one lane of it issues. Brings chunk c into a stage.
template <class Config>
__device__ __forceinline__ void load_chunk(const Block<Config>& block, const SweepCall& call, int c,
                                           int stage) {
  const WorkItem& item = block.item;
  const std::uint32_t full = block.shared.ring.full_at(stage);
  const std::uint32_t k = block.stage(stage), v = k + Config::kKeyBytes;
  const bool with_output = block.makes_output(c);
  const std::uint32_t q =
      block.query(block.query_slot((c - block.first_output) / Config::kTurns, stage));
  ptx::mbarrier_arrive_expect_elected(
      full, (with_output ? 2 : 1) * Config::kKeyBytes + Config::kValueBytes);
  // Of a cluster, one brings k and v of a chunk for all.
  const bool shared = Config::kTurns > 1 && block.turns > 1;
  const bool mine = !shared || c % Config::kTurns == block.turn;
  auto load = [&](std::uint32_t to, const CUtensorMap* map, const ptx::TileOrigin& from) {
    if constexpr (Config::kTurns > 1) {
      if (shared) {
        return ptx::tma_multicast_elected(to, map, full, from, (1 << Config::kTurns) - 1);
      }
    }
    ptx::tma_load_elected(to, map, full, from);
  };
  // Boxes of all the tiles a block wants, or where the last tile is not whole, one by one.
  const int key_boxes = call.whole_tiles ? 1 : Config::kKeyTiles;
  const int value_boxes = call.whole_tiles ? 1 : Config::kWorkers;
  ptx::TileOrigin origin{0, item.row + (call.reverse ? -(c + 1) : c) * kChunk, 0, item.head,
                         item.batch};
#pragma unroll 1
  for (int i = 0; i < key_boxes; ++i, origin.column += kTile) {
    if (mine) load(k + i * Config::kTileBytes, &call.k, origin);
    if (with_output) {
      ptx::tma_load_elected(q + i * Config::kTileBytes, &call.q, full, origin);
    }
  }
  origin.column = call.whole_tiles ? 0 : block.first_value_tile * kTile;
  origin.tile = call.whole_tiles ? block.first_value_tile : 0;
#pragma unroll 1
  for (int i = 0; i < value_boxes; ++i, origin.column += kTile) {
    if (mine) load(v + i * Config::kTileBytes, &call.v, origin);
  }
}

template <class T, class Config>
__global__ void __launch_bounds__(Config::kThreads, Config::kBlocksPerSm)
    sweep_kernel(const __grid_constant__ SweepParams params) {
  extern __shared__ std::uint8_t dynamic_shared[];
  __shared__ SharedState<Config> shared;

  Block<Config> block(params, shared, (ptx::shared_address(dynamic_shared) + 1023) & ~1023u);

  constexpr int kMath = Config::kWorkers + Config::kScorers;
  constexpr int kLoader = kMath * 4;  // the warp that loads
  const int thread = threadIdx.x, role = thread / 128;
  const int warp = __shfl_sync(0xffffffffu, thread / 32, 0);
  if (warp == kLoader) {
    if (thread % 32 == 0) {
      shared.ring.init(1, 4 * kMath * block.turns);
      shared.scores.init(4, 4 * Config::kWorkers);
      ptx::fence_proxy_async();
    }
    __syncwarp();
  }
  // Barriers are there before anybody of the cluster arrives at them.
  if constexpr (Config::kTurns > 1) ptx::cluster_sync();
  if (warp == kLoader) {
    // The first chunks are under way before anybody else is ready.
    for (int c = 0; c < min(Config::kStages, block.chunks); ++c) {
      load_chunk<Config>(block, block.call(), c, c);
    }
  }
  if (thread < 128) block.fill_table(thread);
  __syncthreads();
  if (block.item.state_out >= 0) ptx::launch_next_grid();  // a state pass: the scan gets ready

  if (role < Config::kWorkers) {
    ptx::take_registers<Config::kWorkerRegisters>();
    compute_chunks<T, Config>(block, Config::kWorkers == 1 ? 0 : role);
  } else if (Config::kScorers > 0 && role == Config::kWorkers) {
    ptx::give_registers<Config::kScorerRegisters>();
    if constexpr (Config::kScorers > 0) score_chunks<T, Config>(block);
  } else {
    ptx::give_registers<Config::kLoaderRegisters>();
    if (warp == kLoader) {
      RingPosition<Config::kStages> ring;
      for (int c = Config::kStages; c < block.chunks; ++c, ring.advance()) {
        ptx::mbarrier_wait(shared.ring.empty_at(ring.stage), ring.parity);
        load_chunk<Config>(block, block.call(), c, ring.stage);
      }
    }
  }
  // Nobody leaves while the others still write here.
  if constexpr (Config::kTurns > 1) ptx::cluster_sync();
}

}  // namespace tnl::cuda
