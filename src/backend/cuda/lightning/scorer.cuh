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
  auto skip = [&] {  // a chunk that is not this block's to score
    ptx::mbarrier_wait(block.shared.ring.full_at(ring.stage), ring.parity);
    block.release(ring.stage, at.lane);
  };
  const int first = min(block.first_output, block.chunks), outputs = block.chunks - first;
  for (int c = 0; c < first; ++c, ring.advance()) skip();
#pragma unroll 1
  for (int c = 0; c < outputs; c += Config::kTurns, ring.advance(), buffer.advance()) {
    block.await(ring, c + 1 == outputs, kBarrier, at.thread);
    const std::uint32_t q = block.query(block.query_slot(c / Config::kTurns, ring.stage));
    ptx::wgmma_pin(p);
    ptx::wgmma_fence();
    Products<T, Config>::scores(p, q, block.stage(ring.stage));
    ptx::wgmma_commit();
    ptx::mbarrier_wait(block.shared.scores.empty_at(buffer.stage), buffer.parity ^ 1);
    ptx::wgmma_wait<0>();
    ptx::wgmma_pin(p);
    block.release(ring.stage, at.lane);
    publish_scores<Element<T>, Config::kSplit == Split::kAll>(
        p, decay, block.scores_tile(buffer.stage), Config::kTileBytes, at);
    ptx::fence_proxy_async();
    __syncwarp();
    if (at.lane == 0) ptx::mbarrier_arrive(block.shared.scores.full_at(buffer.stage));
      // Those of the blocks that take turns with this one.
#pragma unroll
    for (int i = 1; i < Config::kTurns; ++i) {
      if (c + i >= outputs) break;
      ring.advance();
      skip();
    }
  }
}

}  // namespace tnl::cuda
