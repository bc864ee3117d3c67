// The math warpgroups of the sweep: workers, which own a tile of V, and the scorer, which computes
// P for them where the configuration has one.
#pragma once

#include "backend/cuda/lightning/fragments.cuh"
#include "backend/cuda/ptx/tma.cuh"
#include "backend/cuda/tile/state_io.cuh"

namespace tnl::cuda {

// What every role of a block knows.
template <class Config>
struct Block {
  const SweepParams& params;
  const SweepCall& call;
  const WorkItem& item;
  const DecayTable& table;
  const RingBarriers<Config::kStages>& ring;  // q, k, v
  const RingBarriers<2>& scores;              // P, where a scorer makes it
  std::uint32_t tiles;                        // start of the stages
  int chunks, last_tokens;                    // of the last chunk

  __device__ __forceinline__ std::uint32_t stage(int i) const {
    return tiles + i * Config::kStageBytes;
  }
  __device__ __forceinline__ std::uint32_t scores_tile(int i) const {
    return tiles + Config::kScoresOffset + i * Config::kScoreBytes;
  }
  // Waits for a chunk and clears its rows that hold no token.
  __device__ __forceinline__ void await(RingPosition<Config::kStages> at, bool last, int barrier,
                                        int thread) const {
    ptx::mbarrier_wait(ring.full_at(at.stage), at.parity);
    if (last && last_tokens < kChunk) {
      clear_missing_rows<Config>(stage(at.stage), last_tokens, call.reverse, thread);
      ptx::named_barrier(barrier, 128);
    }
  }
};

// Computes P of chunk after chunk, up to two ahead of the workers.
template <class T, class Config>
__device__ __forceinline__ void score_chunks(const Block<Config>& block) {
  const Lane at(threadIdx.x % 128);
  constexpr int kBarrier = 1 + Config::kWorkers;
  const ScoreDecay<true> decay(block.table, at);
  RingPosition<Config::kStages> ring;
  RingPosition<2> buffer;
  float p[32];
  for (int c = 0; c < block.item.warm_chunks; ++c, ring.advance()) {
    ptx::mbarrier_wait(block.ring.full_at(ring.stage), ring.parity);
    if (at.lane == 0) ptx::mbarrier_arrive(block.ring.empty_at(ring.stage));
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
    if (c >= 2) ptx::mbarrier_wait(block.scores.empty_at(buffer.stage), buffer.parity ^ 1);
    ptx::wgmma_wait<0>();
    ptx::wgmma_pin(p);
    if (at.lane == 0) ptx::mbarrier_arrive(block.ring.empty_at(ring.stage));
    publish_scores<Element<T>, Config::kSplit == Split::kAll>(
        p, decay, block.scores_tile(buffer.stage), Config::kTileBytes, at);
    ptx::fence_proxy_async();
    __syncwarp();
    if (at.lane == 0) ptx::mbarrier_arrive(block.scores.full_at(buffer.stage));
  }
}

template <class T, class Config>
__device__ __forceinline__ void compute_chunks(const Block<Config>& block, int worker,
                                               int value_tile) {
  const SweepParams& params = block.params;
  const SweepCall& call = block.call;
  const WorkItem& item = block.item;
  const DecayTable& table = block.table;
  const int chunks = block.chunks, last_tokens = block.last_tokens;
  using E = Element<T>;
  using P = Products<T, Config>;
  constexpr int kState = 32 * Config::kKeyTiles;  // registers of Sᵀ
  constexpr int kTileBytes = Config::kTileBytes;
  constexpr bool kSplitState = Config::kSplit != Split::kNone;
  constexpr bool kSplitAll = Config::kSplit == Split::kAll;
  // With K = 256 the operands of O = S q are converted in two parts, or the registers run out.
  constexpr int kParts = Config::kKeyTiles > 2 ? (kSplitState ? 4 : 2) : 1;
  constexpr bool kPipelined = Config::kScorers > 0 && kParts == 1;
  // A worker that computes P itself and has registers to spare keeps its decay there.
  constexpr bool kDecayInRegisters = Config::kKeyTiles == 1;
  const Lane at(threadIdx.x % 128);
  const int barrier = 1 + worker;
  const std::uint32_t output_tile = block.tiles + Config::kOutputOffset + worker * kTileBytes;
  const std::uint32_t v_offset =
      2 * Config::kKeyBytes + worker * kTileBytes + at.transposed_offset();
  const bool partial = last_tokens < kChunk;

  float s[kState], o[32];
  std::uint32_t v[16], weighted[16];
  const bool undecayed = load_state<Config::kKeyTiles>(s, params, call, item, value_tile, at);

  auto load_values = [&](std::uint32_t stage) {
#pragma unroll
    for (int i = 0; i < 4; ++i) ptx::load_matrix_transposed(v + 4 * i, stage + v_offset + i * 2048);
  };
  // Vᵀ with column j times its decay up to the end of the chunk; with `rounded`, what that lost.
  auto weigh = [&](std::uint32_t(&w)[16], const std::uint32_t(&v)[16], bool last,
                   const std::uint32_t* rounded) {
    const float2* factors =
        reinterpret_cast<const float2*>((last ? table.to_last : table.to_end) + at.pair);
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      const float2 f = factors[4 * (2 * (i / 4) + ((i & 2) ? 1 : 0))];
      const float low = E::low(v[i]) * f.x, high = E::high(v[i]) * f.y;
      w[i] = rounded ? E::pack(low - E::low(rounded[i]), high - E::high(rounded[i]))
                     : E::pack(low, high);
    }
  };
  auto decay_state = [&](bool first, bool last) {
    const float decay = table.power[(last ? last_tokens : kChunk) - (first && undecayed ? 1 : 0)];
#pragma unroll
    for (int i = 0; i < kState; ++i) s[i] *= decay;
    ptx::wgmma_pin(s);
  };
  // Sᵀ = λ^n Sᵀ + (Vᵀ · decay) k, in flight when this returns.
  auto update_state = [&](std::uint32_t stage, bool first, bool last) {
    load_values(stage);
    weigh(weighted, v, last, nullptr);
    decay_state(first, last);
    ptx::wgmma_fence();
    P::state(s, weighted, stage + Config::kKeyBytes);
    if constexpr (kSplitAll) {
      std::uint32_t remainder[16];
      weigh(remainder, v, last, weighted);
      ptx::wgmma_fence();
      P::state(s, remainder, stage + Config::kKeyBytes);
    }
    ptx::wgmma_commit();
  };
  // O = bf16(Sᵀ) qᵀ, in flight when this returns.
  auto read_state = [&](std::uint32_t stage) {
    constexpr int kPart = kState / 2 / kParts;  // registers of one part as an operand
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
      std::uint32_t a[kPart], b[kPart];
      const float* x = s + 2 * part * kPart;
#pragma unroll
      for (int i = 0; i < kPart; ++i) a[i] = E::pack(x[2 * i], x[2 * i + 1]);
      ptx::wgmma_pin(o);
      ptx::wgmma_fence();
      P::query(o, a, stage, part * kPart / 4, kPart / 4, part > 0);
      if constexpr (kSplitState) {
#pragma unroll
        for (int i = 0; i < kPart; ++i) {
          b[i] = E::pack(x[2 * i] - E::low(a[i]), x[2 * i + 1] - E::high(a[i]));
        }
        ptx::wgmma_fence();
        P::query(o, b, stage, part * kPart / 4, kPart / 4, true);
      }
      ptx::wgmma_commit();
      if constexpr (kParts > 1) ptx::wgmma_wait<0>();
    }
  };
  auto scale_output = [&](bool first) {
    const float2* factors = reinterpret_cast<const float2*>(
        (first && undecayed ? table.to_row_undecayed : table.to_row) + at.pair);
#pragma unroll
    for (int n = 0; n < 8; ++n) {
      const float2 f = factors[4 * n];
      o[4 * n] *= f.x;
      o[4 * n + 1] *= f.y;
      o[4 * n + 2] *= f.x;
      o[4 * n + 3] *= f.y;
    }
    ptx::wgmma_pin(o);
  };
  auto stage_output = [&] {
#pragma unroll
    for (int n = 0; n < 8; n += 2) {
      std::uint32_t a[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int first = 4 * (n + i / 2) + 2 * (i % 2);
        a[i] = E::pack(o[first], o[first + 1]);
      }
      ptx::store_matrix_transposed(output_tile + at.transposed_offset() + n * 1024, a);
    }
  };

  // The output tile is in shared memory: to the tensor with it.
  auto store_output = [&](int c, bool last) {
    const int row = item.row + (call.reverse ? -(c + 1) : c) * kChunk;
    if (last && partial) {
      store_rows(call, item, output_tile, row, value_tile, last_tokens, at.thread);
    } else if (at.thread == 0) {
      ptx::tma_store(&call.o, output_tile, {value_tile * kTile, row, item.head, item.batch});
      ptx::bulk_commit();
    }
  };

  RingPosition<Config::kStages> ring;
  auto release = [&] {  // this warp has read all it needs of the stage
    if (at.lane == 0) ptx::mbarrier_arrive(block.ring.empty_at(ring.stage));
  };

  int c = 0;
  for (; c < item.warm_chunks; ++c) {
    block.await(ring, false, barrier, at.thread);
    update_state(block.stage(ring.stage), c == 0, false);
    ptx::wgmma_wait<0>();
    ptx::wgmma_pin(s);
    release();
    ring.advance();
  }

  if constexpr (kPipelined) {
    // The products of a chunk follow one another without a gap: what chunk c + 1 needs first, S as
    // an operand and the weighted V, is made ready while Vᵀ Pᵀ of chunk c runs, and the output of
    // chunk c leaves while the first products of chunk c + 1 do.
    std::uint32_t operand[kState / 2], remainder[kSplitState ? kState / 2 : 1], packed[16];
    auto prepare_values = [&](std::uint32_t stage, bool last) {
      std::uint32_t raw[16];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        ptx::load_matrix_transposed(raw + 4 * i, stage + v_offset + i * 2048);
      }
      weigh(weighted, raw, last, nullptr);
    };
    auto prepare_state = [&] {
#pragma unroll
      for (int i = 0; i < kState / 2; ++i) {
        operand[i] = E::pack(s[2 * i], s[2 * i + 1]);
        if constexpr (kSplitState) {
          remainder[i] = E::pack(s[2 * i] - E::low(operand[i]), s[2 * i + 1] - E::high(operand[i]));
        }
      }
    };
    auto send_output = [&](int chunk, bool last) {
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        const std::uint32_t(&part)[4] = reinterpret_cast<const std::uint32_t(&)[4]>(packed[4 * n]);
        ptx::store_matrix_transposed(output_tile + at.transposed_offset() + n * 2048, part);
      }
      ptx::fence_proxy_async();
      ptx::named_barrier(barrier, 128);
      store_output(chunk, last);
    };
    RingPosition<2> buffer;
    const int first_output = c;
    if (c < chunks) {
      block.await(ring, c + 1 == chunks, barrier, at.thread);
      prepare_values(block.stage(ring.stage), c + 1 == chunks);
      prepare_state();
    }
#pragma unroll 1
    for (; c < chunks; ++c, ring.advance(), buffer.advance()) {
      const std::uint32_t stage = block.stage(ring.stage);
      const bool first = c == 0, last = c + 1 == chunks;
      ptx::wgmma_pin(o);
      ptx::wgmma_fence();
      P::query(o, operand, stage, 0, kState / 8, false);
      if constexpr (kSplitState) P::query(o, remainder, stage, 0, kState / 8, true);
      ptx::wgmma_commit();
      decay_state(first, last);
      ptx::wgmma_fence();
      P::state(s, weighted, stage + Config::kKeyBytes);
      ptx::wgmma_commit();
      if (c > first_output) send_output(c - 1, false);
      if (at.thread == 0) ptx::bulk_wait_read();  // before the tile is written again
      ptx::wgmma_wait<1>();
      ptx::wgmma_pin(o);
      scale_output(first);
      load_values(stage);
      if constexpr (kSplitAll) {
        std::uint32_t lost[16];
        weigh(lost, v, last, weighted);
        ptx::wgmma_fence();
        P::state(s, lost, stage + Config::kKeyBytes);
        ptx::wgmma_commit();
      }
      ptx::mbarrier_wait(block.scores.full_at(buffer.stage), buffer.parity);
      ptx::wgmma_fence();
      P::values(o, v, block.scores_tile(buffer.stage));
      if constexpr (kSplitAll) P::values(o, v, block.scores_tile(buffer.stage) + kTileBytes);
      ptx::wgmma_commit();
      if (!last) {
        const RingPosition<Config::kStages> next = ring.next();
        block.await(next, c + 2 == chunks, barrier, at.thread);
        prepare_values(block.stage(next.stage), c + 2 == chunks);
      }
      ptx::wgmma_wait<1>();
      ptx::wgmma_pin(s);
      prepare_state();
      ptx::wgmma_wait<0>();
      ptx::wgmma_pin(o);
      release();
      if (at.lane == 0) ptx::mbarrier_arrive(block.scores.empty_at(buffer.stage));
#pragma unroll
      for (int i = 0; i < 16; ++i) packed[i] = E::pack(o[2 * i], o[2 * i + 1]);
      ptx::named_barrier(barrier, 128);  // the tile is free
    }
    if (c > first_output) send_output(c - 1, true);
  } else if constexpr (Config::kScorers > 0) {
    RingPosition<2> buffer;
#pragma unroll 1
    for (; c < chunks; ++c, ring.advance(), buffer.advance()) {
      const std::uint32_t stage = block.stage(ring.stage);
      const std::uint32_t scores_tile = block.scores_tile(buffer.stage);
      const bool first = c == 0, last = c + 1 == chunks;
      block.await(ring, last, barrier, at.thread);
      read_state(stage);
      update_state(stage, first, last);
      if (at.thread == 0) ptx::bulk_wait_read();  // the previous output tile has left
      ptx::wgmma_wait<1>();                       // O is there, the state is under way
      ptx::wgmma_pin(o);
      scale_output(first);
      if constexpr (kSplitAll) load_values(stage);
      ptx::named_barrier(barrier, 128);
      ptx::mbarrier_wait(block.scores.full_at(buffer.stage), buffer.parity);
      ptx::wgmma_fence();
      P::values(o, v, scores_tile);
      if constexpr (kSplitAll) P::values(o, v, scores_tile + kTileBytes);
      ptx::wgmma_commit();
      ptx::wgmma_wait<0>();
      ptx::wgmma_pin(s);
      ptx::wgmma_pin(o);
      release();
      if (at.lane == 0) ptx::mbarrier_arrive(block.scores.empty_at(buffer.stage));
      stage_output();
      ptx::fence_proxy_async();
      ptx::named_barrier(barrier, 128);
      store_output(c, last);
    }
  } else if (c < chunks) {
    const ScoreDecay<kDecayInRegisters> decay(table, at);
    const std::uint32_t scores_tile = block.scores_tile(worker);
    float p[32];
    auto publish = [&] { publish_scores<E, kSplitAll>(p, decay, scores_tile, kTileBytes, at); };
    auto start_scores = [&](std::uint32_t stage) {
      ptx::wgmma_fence();
      P::scores(p, stage, stage + Config::kKeyBytes);
      ptx::wgmma_commit();
    };
    block.await(ring, c + 1 == chunks, barrier, at.thread);
    ptx::wgmma_pin(p);
    start_scores(block.stage(ring.stage));
    ptx::wgmma_wait<0>();
    ptx::wgmma_pin(p);
#pragma unroll 1
    do {
      const std::uint32_t stage = block.stage(ring.stage);
      const bool first = c == 0, last = c + 1 == chunks;
      if constexpr (kParts > 1) publish();  // its registers are needed
      read_state(stage);
      if constexpr (kParts == 1) publish();
      update_state(stage, first, last);
      if (at.thread == 0) ptx::bulk_wait_read();  // the previous output tile has left
      ptx::fence_proxy_async();
      ptx::wgmma_wait<1>();  // O is there, the state is under way
      ptx::wgmma_pin(o);
      scale_output(first);
      if constexpr (kSplitAll) load_values(stage);
      ptx::named_barrier(barrier, 128);
      ptx::wgmma_fence();
      P::values(o, v, scores_tile);
      if constexpr (kSplitAll) P::values(o, v, scores_tile + kTileBytes);
      ptx::wgmma_commit();
      ptx::wgmma_wait<0>();
      ptx::wgmma_pin(s);
      ptx::wgmma_pin(o);
      // Release before waiting: the loader then has the next chunk but one under way.
      release();
      const RingPosition<Config::kStages> next = ring.next();
      if (!last) block.await(next, c + 2 == chunks, barrier, at.thread);
      // P of the next chunk runs behind the epilogue. After the last chunk it is a product of stale
      // memory that nobody reads: making it conditional would serialise every wgmma of the loop.
      start_scores(block.stage(next.stage));
      stage_output();
      ptx::fence_proxy_async();
      ptx::named_barrier(barrier, 128);
      store_output(c, last);
      ring = next;
      ptx::wgmma_wait<0>();
      ptx::wgmma_pin(p);
    } while (++c < chunks);
  }
  store_state<Config::kKeyTiles>(s, params, call, item, table.power[1], value_tile, at);
  if (at.thread == 0) ptx::bulk_wait_read();
}

}  // namespace tnl::cuda
