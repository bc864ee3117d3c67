// The warpgroup of the sweep that computes P for the workers, where a configuration has one.
#pragma once

#include "backend/cuda/lightning/block.cuh"

namespace tnl::cuda {

// Computes P of chunk after chunk, up to two ahead of the workers.
template <class T, class Config>
__device__ __forceinline__ void score_chunks(const Block<Config>& block) {
  const Lane at(threadIdx.x % 128);
  constexpr int kBarrier = 1 + Config::kWorkers;
  const ScoreDecay<true> decay(block.table(), at);
  RingPosition<Config::kStages> ring;
  RingPosition<2> buffer;
  float p[32];
  for (int c = 0; c < block.item.warm_chunks; ++c, ring.advance()) {
    ptx::mbarrier_wait(block.shared.ring.full_at(ring.stage), ring.parity);
    if (at.lane == 0) ptx::mbarrier_arrive(block.shared.ring.empty_at(ring.stage));
  }
  const int outputs = block.chunks - block.item.warm_chunks;
#pragma unroll 1
  for (int c = 0; c < outputs; ++c, ring.advance(), buffer.advance()) {
    block.await(ring, c + 1 == outputs, kBarrier, at.thread);
    const std::uint32_t q = block.stage(ring.stage);
    ptx::wgmma_pin(p);
    ptx::wgmma_fence();
    Products<T, Config>::scores(p, q, q + Config::kKeyBytes);
    ptx::wgmma_commit();
    ptx::mbarrier_wait(block.shared.scores.empty_at(buffer.stage), buffer.parity ^ 1);
    ptx::wgmma_wait<0>();
    ptx::wgmma_pin(p);
    if (at.lane == 0) ptx::mbarrier_arrive(block.shared.ring.empty_at(ring.stage));
    publish_scores<Element<T>, Config::kSplit == Split::kAll>(
        p, decay, block.scores_tile(buffer.stage), Config::kTileBytes, at);
    ptx::fence_proxy_async();
    __syncwarp();
    if (at.lane == 0) ptx::mbarrier_arrive(block.shared.scores.full_at(buffer.stage));
  }
}

}  // namespace tnl::cuda
