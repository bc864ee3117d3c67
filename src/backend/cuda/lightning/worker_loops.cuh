// What a worker of the sweep does with the chunks of its item, one loop for each way of dividing
// the work of a block (docs/kernels/sweep.md).
#pragma once

#include "backend/cuda/lightning/worker.cuh"

namespace tnl::cuda {

// Chunks whose output another worker makes, or nobody: they only build the state.
template <class T, class Config>
__device__ __forceinline__ void build_state(Worker<T, Config>& w, int end) {
  using W = Worker<T, Config>;
  constexpr int kTurns = Config::kTurns;
  // The next step's operands are made while the products of this one run.
  typename W::Operand next;
  typename W::Lost next_lost;
  float factor = w.prepare(w.weighted, &w.lost, w.ring, 0, end);
#pragma unroll 1
  for (; w.c < end; w.c += kTurns) {
    w.decay_state(w.chunk_decay(w.c == 0, w.c + 1 == w.chunks) * factor);
    ptx::wgmma_fence();
    w.add_weighted(end);
    w.add_lost(end);
    ptx::wgmma_commit();
    typename W::Position behind = w.ring;
#pragma unroll
    for (int j = 0; j < kTurns; ++j) behind.advance();
    if (w.c + kTurns < end) factor = w.prepare(next, &next_lost, behind, w.c + kTurns, end);
    ptx::wgmma_wait<0>();
    w.state_updated();
    w.release_step(end);
#pragma unroll
    for (int i = 0; i < kTurns * 16; ++i) {
      w.weighted[i / 16][i % 16] = next[i / 16][i % 16];
      if constexpr (W::kSplitAll) w.lost[i / 16][i % 16] = next_lost[i / 16][i % 16];
    }
  }
  if constexpr (kTurns > 1) {  // the last step may have lacked a chunk
    w.c = end;
    w.ring.stage = end % Config::kStages;
    w.ring.parity = end / Config::kStages & 1;
  }
}

// The products of a step follow one another without a gap: what the next one needs first, S as an
// operand and the weighted V, is made ready while Vᵀ Pᵀ of this one runs, and the output of a step
// leaves while the first products of the next do. A step is the chunk whose output this worker
// makes and, where workers take turns, those of the others up to its next.
template <class T, class Config>
__device__ __forceinline__ void run_pipelined(Worker<T, Config>& w, int first_output) {
  using W = Worker<T, Config>;
  constexpr int kTurns = Config::kTurns;
  // S as an operand before the weighted V, where the registers suffice for V Pᵀ still under way.
  constexpr bool kStateFirst = Config::kWorkers == 1;
  std::uint32_t packed[16];
  int outputs = 0;  // made so far
  auto send_output = [&](int chunk, bool last) {
    const std::uint32_t to = w.output_tile + (outputs & 1) * W::kTileBytes;
    stage_packed_output(packed, to, w.at);
    ptx::fence_proxy_async();
    // The other tile has left: after this barrier the next output may go there.
    if (w.at.thread == 0) ptx::bulk_wait_read();
    ptx::named_barrier(w.barrier, 128);
    w.store_output(chunk, last, to);
  };
  float factor = 1.f;
  if (w.c < w.chunks) {
    factor = w.prepare(w.weighted, nullptr, w.ring, w.c, w.chunks);
    w.prepare_state(0);
  }
#pragma unroll 1
  for (; w.c < w.chunks; w.c += kTurns, ++outputs) {
    const std::uint32_t stage = w.block.stage(w.ring.stage);
    const std::uint32_t scores = w.block.scores_tile(w.buffer.stage);
    const bool first = w.c == 0, last = w.c + 1 == w.chunks;
    ptx::wgmma_pin(w.o);
    ptx::wgmma_fence();
    const std::uint32_t q = w.block.query(w.block.query_slot(outputs, w.ring.stage));
    W::P::query(w.o, w.operand, q, 0, W::kState / 8, false);
    if constexpr (W::kSplitState) W::P::query(w.o, w.remainder, q, 0, W::kState / 8, true);
    ptx::wgmma_commit();
    w.decay_state(w.chunk_decay(first, last) * factor);
    ptx::wgmma_fence();
    w.add_weighted(w.chunks);
    ptx::wgmma_commit();
    if (w.c > first_output) send_output(w.c - kTurns, false);
    ptx::wgmma_wait<1>();
    w.state_read();
    w.scale_output(first);
    if constexpr (W::kSplitAll) {
      w.prepare_lost();
      ptx::wgmma_fence();
      w.add_lost(w.chunks);
      ptx::wgmma_commit();
    } else {
      w.load_values(stage);
    }
    ptx::mbarrier_wait(w.block.shared.scores.full_at(w.buffer.stage), w.buffer.parity);
    ptx::wgmma_fence();
    W::P::values(w.o, w.v, scores);
    if constexpr (W::kSplitAll) W::P::values(w.o, w.v, scores + W::kTileBytes);
    ptx::wgmma_commit();
    ptx::wgmma_wait<1>();  // S is there, O under way
    w.state_updated();
    w.release_step(w.chunks);
    if constexpr (kStateFirst) w.prepare_state(0);
    if (w.c + kTurns < w.chunks) {
      factor = w.prepare(w.weighted, nullptr, w.ring, w.c + kTurns, w.chunks);
    }
    if constexpr (!kStateFirst) w.prepare_state(0);
    ptx::wgmma_pin(w.operand);
    if constexpr (W::kSplitState) ptx::wgmma_pin(w.remainder);
    ptx::wgmma_wait<0>();
    ptx::wgmma_pin(w.o);
    ptx::wgmma_pin(w.v);
    w.release_scores();
    w.buffer.advance();
#pragma unroll
    for (int i = 0; i < 16; ++i) packed[i] = W::E::pack(w.o[2 * i], w.o[2 * i + 1]);
  }
  // c has passed the end by what the last step lacked.
  if (w.c > first_output) send_output(w.c - kTurns, w.c - kTurns + 1 == w.chunks);
}

// O += Vᵀ Pᵀ while the update of the state, begun before, runs to its end.
template <class T, class Config>
__device__ __forceinline__ void add_scores(Worker<T, Config>& w, std::uint32_t scores) {
  using W = Worker<T, Config>;
  ptx::wgmma_fence();
  W::P::values(w.o, w.v, scores);
  if constexpr (W::kSplitAll) W::P::values(w.o, w.v, scores + W::kTileBytes);
  ptx::wgmma_commit();
  ptx::wgmma_wait<0>();
  w.state_updated();
  ptx::wgmma_pin(w.o);
  ptx::wgmma_pin(w.v);
}

// Chunk by chunk, with P from the scorer.
template <class T, class Config>
__device__ __forceinline__ void run_scored(Worker<T, Config>& w) {
  using W = Worker<T, Config>;
#pragma unroll 1
  for (; w.c < w.chunks; ++w.c, w.ring.advance(), w.buffer.advance()) {
    const std::uint32_t stage = w.block.stage(w.ring.stage);
    const std::uint32_t scores = w.block.scores_tile(w.buffer.stage);
    const bool first = w.c == 0, last = w.c + 1 == w.chunks;
    w.block.await(w.ring, last, w.barrier, w.at.thread);
    w.read_state(w.block.query(w.ring.stage));
    w.update_state(stage, first, last);
    if (w.at.thread == 0) ptx::bulk_wait_read();  // the previous output tile has left
    ptx::wgmma_wait<1>();                         // O is there, the state is under way
    w.state_read();
    w.scale_output(first);
    if constexpr (W::kSplitAll) w.load_values(stage);
    ptx::named_barrier(w.barrier, 128);
    ptx::mbarrier_wait(w.block.shared.scores.full_at(w.buffer.stage), w.buffer.parity);
    add_scores(w, scores);
    w.release();
    w.release_scores();
    w.send_output(w.c, last);
  }
}

// Chunk by chunk; the worker makes P itself, one chunk ahead.
template <class T, class Config>
__device__ __forceinline__ void run_scoring(Worker<T, Config>& w, int worker) {
  using W = Worker<T, Config>;
  // A worker with registers to spare keeps the decay of P there.
  const ScoreDecay<Config::kKeyTiles == 1> decay(w.table, w.at);
  const std::uint32_t scores = w.block.scores_tile(worker);
  float p[32];
  auto publish = [&] {
    publish_scores<typename W::E, W::kSplitAll>(p, decay, scores, W::kTileBytes, w.at);
  };
  auto start_scores = [&](int stage) {
    ptx::wgmma_fence();
    W::P::scores(p, w.block.query(stage), w.block.stage(stage));
    ptx::wgmma_commit();
  };
  w.block.await(w.ring, w.c + 1 == w.chunks, w.barrier, w.at.thread);
  ptx::wgmma_pin(p);
  start_scores(w.ring.stage);
  ptx::wgmma_wait<0>();
  ptx::wgmma_pin(p);
#pragma unroll 1
  do {
    const std::uint32_t stage = w.block.stage(w.ring.stage);
    const bool first = w.c == 0, last = w.c + 1 == w.chunks;
    if constexpr (W::kParts > 1) publish();  // its registers are needed
    w.read_state(w.block.query(w.ring.stage));
    if constexpr (W::kParts == 1) publish();
    w.update_state(stage, first, last);
    if (w.at.thread == 0) ptx::bulk_wait_read();  // the previous output tile has left
    ptx::fence_proxy_async();
    ptx::wgmma_wait<1>();  // O is there, the state is under way
    w.state_read();
    w.scale_output(first);
    if constexpr (W::kSplitAll) w.load_values(stage);
    ptx::named_barrier(w.barrier, 128);
    add_scores(w, scores);
    // Release before waiting: the loader then has the next chunk but one under way.
    w.release();
    const typename W::Position next = w.ring.next();
    if (!last) w.block.await(next, w.c + 2 == w.chunks, w.barrier, w.at.thread);
    // P of the next chunk runs behind the epilogue. After the last chunk it is a product of stale
    // memory that nobody reads: making it conditional would serialise every wgmma of the loop.
    start_scores(next.stage);
    w.send_output(w.c, last);
    w.ring = next;
    ptx::wgmma_wait<0>();
    ptx::wgmma_pin(p);
  } while (++w.c < w.chunks);
}

template <class T, class Config>
__device__ __forceinline__ void compute_chunks(const Block<Config>& block, int worker) {
  const Lane at(threadIdx.x % 128);
  Worker<T, Config> w(block, at, worker);
  const int first_output = min(block.first_output, block.chunks);
  if (first_output > 0) build_state(w, first_output);
  if constexpr (Config::kPipelined) {
    run_pipelined(w, first_output);
  } else if constexpr (Config::kScorers > 0) {
    run_scored(w);
  } else {
    if (w.c < w.chunks) run_scoring(w, worker);
  }
  w.finish();
}

}  // namespace tnl::cuda
