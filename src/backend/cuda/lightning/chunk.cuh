// Sequences of one chunk, without a state coming in (docs/kernels/sweep.md): what is left of the
// sweep is P = q kᵀ, Oᵀ = Vᵀ Pᵀ and, where it is wanted, Sᵀ = (Vᵀ · decay) k, each once. It needs
// no ring and few registers, so that two blocks share a multiprocessor and small calls are one
// wave.
#pragma once

#include "backend/cuda/lightning/chunk_config.h"
#include "backend/cuda/lightning/sweep.cuh"

namespace tnl::cuda {

// One warpgroup: 64 columns of V.
template <class T, class Config>
__device__ __forceinline__ void compute_chunk(const Block<Config>& block, int worker) {
  using E = Element<T>;
  using P = Products<T, Config>;
  constexpr bool kSplitAll = Config::kSplit == Split::kAll;
  constexpr int kTileBytes = Config::kTileBytes;
  const SweepCall& call = block.call();
  const WorkItem& item = block.item;
  const Lane at(threadIdx.x % 128);
  const int barrier = 1 + worker, value_tile = block.first_value_tile + worker;
  const std::uint32_t q = block.query(0), k = block.stage(0);
  const std::uint32_t scores = block.scores_tile(worker);
  const std::uint32_t output = block.tiles + Config::kOutputOffset + worker * kTileBytes;
  std::uint32_t v[16];
  if (block.chunks > 0) {
    block.await({}, true, barrier, at.thread);
    float p[32];
    ptx::wgmma_pin(p);
    ptx::wgmma_fence();
    P::scores(p, q, k);
    ptx::wgmma_commit();
    load_value_fragments(v, k + Config::kKeyBytes + worker * kTileBytes + at.transposed_offset());
    ptx::wgmma_wait<0>();
    ptx::wgmma_pin(p);
    publish_scores<E, kSplitAll>(p, ScoreDecay<false>(block.table(), at), scores, kTileBytes, at);
    ptx::fence_proxy_async();
    ptx::named_barrier(barrier, 128);

    float o[32] = {};
    ptx::wgmma_pin(o);
    ptx::wgmma_pin(v);
    ptx::wgmma_fence();
    P::values(o, v, scores);
    if constexpr (kSplitAll) P::values(o, v, scores + kTileBytes);
    ptx::wgmma_commit();
    ptx::wgmma_wait<0>();
    ptx::wgmma_pin(o);
    ptx::wgmma_pin(v);
    stage_output<E>(o, output, at);
    ptx::fence_proxy_async();
    ptx::named_barrier(barrier, 128);
    const int row = item.row - (call.reverse ? kChunk : 0);
    if (block.last_tokens < kChunk) {
      store_rows(call, item, output, row, value_tile, block.last_tokens, at.thread);
    } else if (at.thread == 0) {
      ptx::tma_store(&call.o, output, {value_tile * kTile, row, 0, item.head, item.batch});
      ptx::bulk_commit();
    }
  }
  if (item.state_out == kCallerState) {
    float s[32 * Config::kKeyTiles] = {};
    if (block.chunks > 0) {
      const float* factors = block.table().to_last + at.pair;
      std::uint32_t weighted[16], lost[kSplitAll ? 16 : 1];
      weigh_values<E>(weighted, v, factors, nullptr);
      if constexpr (kSplitAll) weigh_values<E>(lost, v, factors, weighted);
      ptx::wgmma_pin(s);
      ptx::wgmma_pin(weighted);
      if constexpr (kSplitAll) ptx::wgmma_pin(lost);
      ptx::wgmma_fence();
      P::state(s, weighted, k);
      if constexpr (kSplitAll) P::state(s, lost, k);
      ptx::wgmma_commit();
      ptx::wgmma_wait<0>();
      ptx::wgmma_pin(s);
      ptx::wgmma_pin(weighted);
      if constexpr (kSplitAll) ptx::wgmma_pin(lost);
    }
    store_state<Config::kKeyTiles>(s, block.params, call, item, block.table().power[1], value_tile,
                                   at);
  }
  if (at.thread == 0) ptx::bulk_wait_read();
}

template <class T, class Config>
__global__ void __launch_bounds__(Config::kThreads, Config::kBlocksPerSm)
    chunk_kernel(const __grid_constant__ SweepParams params) {
  extern __shared__ std::uint8_t dynamic_shared[];
  __shared__ SharedState<Config> shared;
  const Block<Config> block(params, shared, (ptx::shared_address(dynamic_shared) + 1023) & ~1023u);
  const int thread = threadIdx.x;
  const int warp = __shfl_sync(0xffffffffu, thread / 32, 0);
  if (warp == 0) {
    if (thread == 0) {
      shared.ring.init(1, 1);
      ptx::fence_proxy_async();
    }
    __syncwarp();
    if (block.chunks > 0) load_chunk<Config>(block, block.call(), 0, 0);
  }
  if (thread >= 128) block.fill_table(thread - 128);  // while the other half loads
  __syncthreads();
  compute_chunk<T, Config>(block, warp / 4);
}

}  // namespace tnl::cuda
