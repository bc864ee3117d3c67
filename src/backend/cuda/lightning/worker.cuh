// A worker of the sweep: the warpgroup that owns one tile of V and the state Sᵀ[64, K].
#pragma once

#include "backend/cuda/lightning/block.cuh"
#include "backend/cuda/ptx/tma.cuh"
#include "backend/cuda/tile/state_io.cuh"

namespace tnl::cuda {

template <class T, class Config>
__device__ __forceinline__ void compute_chunks(const Block<Config>& block, int worker) {
  const SweepParams& params = block.params;
  const SweepCall& call = block.call();
  const WorkItem& item = block.item;
  const DecayTable& table = block.table();
  constexpr int kTurns = Config::kTurns;
  const int value_tile = block.first_value_tile + worker;
  const int chunks = block.chunks, last_tokens = block.last_tokens;
  using E = Element<T>;
  using P = Products<T, Config>;
  constexpr int kState = 32 * Config::kKeyTiles;  // registers of Sᵀ
  constexpr int kTileBytes = Config::kTileBytes;
  constexpr bool kSplitState = Config::kSplit != Split::kNone;
  constexpr bool kSplitAll = Config::kSplit == Split::kAll;
  // With K = 256 the operands of O = S q are converted in two parts, or the registers run out.
  constexpr int kParts = Config::kKeyTiles > 2 ? (kSplitState ? 4 : 2) : 1;
  constexpr bool kPipelined = Config::kPipelined;
  // S as an operand before the weighted V, where the registers suffice for V Pᵀ still under way.
  constexpr bool kStateFirst = Config::kWorkers == 1;
  // A worker that computes P itself and has registers to spare keeps its decay there.
  constexpr bool kDecayInRegisters = Config::kKeyTiles == 1;
  const Lane at(threadIdx.x % 128);
  const int barrier = 1 + worker;
  const std::uint32_t output_tile =
      block.tiles + Config::kOutputOffset + worker * Config::kOutputTiles * kTileBytes;
  const std::uint32_t v_offset = Config::kKeyBytes + worker * kTileBytes + at.transposed_offset();
  const bool partial = last_tokens < kChunk;

  float s[kState], o[32];
  std::uint32_t v[16], weighted[kTurns][16];
  const bool undecayed = load_state<Config::kKeyTiles>(s, params, call, item, value_tile, at);

  auto load_tile = [&](std::uint32_t(&to)[16], std::uint32_t stage) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      ptx::load_matrix_transposed(to + 4 * i, stage + v_offset + i * 2048);
    }
  };
  auto load_values = [&](std::uint32_t stage) { load_tile(v, stage); };
  // Vᵀ with column j times its decay up to the end of the chunk and a factor for what lies behind;
  // with `rounded`, what that lost.
  auto weigh = [&](std::uint32_t(&w)[16], const std::uint32_t(&v)[16], bool last, float factor,
                   const std::uint32_t* rounded) {
    const float2* factors =
        reinterpret_cast<const float2*>((last ? table.to_last : table.to_end) + at.pair);
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      float2 f = factors[4 * (2 * (i / 4) + ((i & 2) ? 1 : 0))];
      if constexpr (kTurns > 1) f = make_float2(f.x * factor, f.y * factor);
      // The remainder of the exact product: one rounding, whatever the compiler would contract.
      w[i] = rounded ? E::pack(fmaf(E::low(v[i]), f.x, -E::low(rounded[i])),
                               fmaf(E::high(v[i]), f.y, -E::high(rounded[i])))
                     : E::pack(E::low(v[i]) * f.x, E::high(v[i]) * f.y);
    }
  };
  auto chunk_decay = [&](bool first, bool last) {
    return table.power[(last ? last_tokens : kChunk) - (first && undecayed ? 1 : 0)];
  };
  auto decay_state = [&](float decay) {
#pragma unroll
    for (int i = 0; i < kState; ++i) s[i] *= decay;
    ptx::wgmma_pin(s);
  };
  // Sᵀ = λ^n Sᵀ + (Vᵀ · decay) k, in flight when this returns.
  std::uint32_t lost[kTurns][kSplitAll ? 16 : 1];
  auto update_state = [&](std::uint32_t stage, bool first, bool last) {
    load_values(stage);
    weigh(weighted[0], v, last, 1.f, nullptr);
    if constexpr (kSplitAll) weigh(lost[0], v, last, 1.f, weighted[0]);
    decay_state(chunk_decay(first, last));
    ptx::wgmma_fence();
    P::state(s, weighted[0], stage);
    if constexpr (kSplitAll) P::state(s, lost[0], stage);
    ptx::wgmma_commit();
  };
  auto state_updated = [&] {  // behind the wait for it
    ptx::wgmma_pin(s);
#pragma unroll
    for (int j = 0; j < kTurns; ++j) {
      ptx::wgmma_pin(weighted[j]);
      if constexpr (kSplitAll) ptx::wgmma_pin(lost[j]);
    }
  };
  // O = bf16(Sᵀ) qᵀ, in flight when this returns, or done where it takes several parts.
  constexpr int kPart = kState / 2 / kParts;  // registers of one part as an operand
  std::uint32_t operand[kPart], remainder[kSplitState ? kPart : 1];
  auto prepare_state = [&](int part) {
    const float* x = s + 2 * part * kPart;
#pragma unroll
    for (int i = 0; i < kPart; ++i) {
      operand[i] = E::pack(x[2 * i], x[2 * i + 1]);
      if constexpr (kSplitState) {
        remainder[i] = E::pack(x[2 * i] - E::low(operand[i]), x[2 * i + 1] - E::high(operand[i]));
      }
    }
  };
  auto state_read = [&] {  // behind the wait for it
    ptx::wgmma_pin(o);
    ptx::wgmma_pin(operand);
    if constexpr (kSplitState) ptx::wgmma_pin(remainder);
  };
  auto read_state = [&](std::uint32_t q) {
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
      prepare_state(part);
      ptx::wgmma_pin(o);
      ptx::wgmma_fence();
      P::query(o, operand, q, part * kPart / 4, kPart / 4, part > 0);
      if constexpr (kSplitState) {
        P::query(o, remainder, q, part * kPart / 4, kPart / 4, true);
      }
      ptx::wgmma_commit();
      if constexpr (kParts > 1) {
        ptx::wgmma_wait<0>();
        state_read();
      }
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
  auto stage_output = [&] {  // where the next chunk's products do not hide it
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
  auto store_output = [&](int c, bool last, std::uint32_t tile) {
    const int row = item.row + (call.reverse ? -(c + 1) : c) * kChunk;
    if (last && partial) {
      store_rows(call, item, tile, row, value_tile, last_tokens, at.thread);
    } else if (at.thread == 0) {
      ptx::tma_store(&call.o, tile, {value_tile * kTile, row, 0, item.head, item.batch});
      ptx::bulk_commit();
    }
  };

  RingPosition<Config::kStages> ring;
  RingPosition<2> buffer;
  auto release = [&] {  // this warp has read all it needs of the stage
    block.release(ring.stage, at.lane);
  };
  auto release_scores = [&] {
    if (at.lane == 0) ptx::mbarrier_arrive(block.shared.scores.empty_at(buffer.stage));
  };

  using Position = RingPosition<Config::kStages>;
  // Calls body(j, position, last, factor) for the chunks c + j of a step, from the last one on;
  // factor: the decay over those behind. A chunk that is not before `limit` stands for no token:
  // its products are those of chunk c by zeros, as a condition would serialise every wgmma of the
  // loop. Returns the decay over all but chunk c.
  auto over_step = [&](Position from, int c, int limit, auto body) {
    float factor = 1.f;
#pragma unroll
    for (int j = kTurns - 1; j > 0; --j) {
      Position position = from;
#pragma unroll
      for (int i = 0; i < j; ++i) position.advance();
      const bool there = c + j < limit;
      const bool last = (there ? c + j : c) + 1 == chunks;
      body(j, there ? position : from, last, there ? factor : 0.f);
      if (there) factor *= chunk_decay(false, last);
    }
    body(0, from, c + 1 == chunks, factor);
    return factor;
  };
  // The weighted V of a step and, unless that is made later, what it lost.
  using Operand = std::uint32_t[kTurns][16];
  using Lost = std::uint32_t[kTurns][kSplitAll ? 16 : 1];
  auto prepare = [&](Operand& to, Lost* low, Position from, int c, int limit) {
    return over_step(from, c, limit, [&](int j, Position at_j, bool last, float factor) {
      block.await(at_j, last, barrier, at.thread);
      std::uint32_t raw[16];
      load_tile(raw, block.stage(at_j.stage));
      weigh(to[j], raw, last, factor, nullptr);
      if constexpr (kSplitAll) {
        if (low != nullptr) weigh((*low)[j], raw, last, factor, to[j]);
      }
    });
  };
  auto add_weighted = [&](Position from, int c, int limit) {
    over_step(from, c, limit, [&](int j, Position at_j, bool, float) {
      P::state(s, weighted[j], block.stage(at_j.stage));
    });
  };
  auto add_lost = [&](Position from, int c, int limit) {
    if constexpr (kSplitAll) {
      over_step(from, c, limit, [&](int j, Position at_j, bool, float) {
        P::state(s, lost[j], block.stage(at_j.stage));
      });
    }
  };
  auto release_step = [&](int c, int limit) {
#pragma unroll
    for (int j = 0; j < kTurns; ++j, ring.advance()) {
      if (j == 0 || c + j < limit) release();
    }
  };

  int c = 0;
  // Chunks whose output another one makes, or nobody.
  const int first_output = min(block.first_output, chunks);
  if (first_output > 0) {
    // The next step's operands are made while the products of this one run.
    Operand next;
    Lost next_lost;
    float factor = prepare(weighted, &lost, ring, 0, first_output);
#pragma unroll 1
    for (; c < first_output; c += kTurns) {
      decay_state(chunk_decay(c == 0, c + 1 == chunks) * factor);
      ptx::wgmma_fence();
      add_weighted(ring, c, first_output);
      add_lost(ring, c, first_output);
      ptx::wgmma_commit();
      Position behind = ring;
#pragma unroll
      for (int j = 0; j < kTurns; ++j) behind.advance();
      if (c + kTurns < first_output) {
        factor = prepare(next, &next_lost, behind, c + kTurns, first_output);
      }
      ptx::wgmma_wait<0>();
      state_updated();
      release_step(c, first_output);
#pragma unroll
      for (int i = 0; i < kTurns * 16; ++i) {
        weighted[i / 16][i % 16] = next[i / 16][i % 16];
        if constexpr (kSplitAll) lost[i / 16][i % 16] = next_lost[i / 16][i % 16];
      }
    }
    if constexpr (kTurns > 1) {  // the last step may have lacked a chunk
      c = first_output;
      ring.stage = c % Config::kStages;
      ring.parity = c / Config::kStages & 1;
    }
  }

  if constexpr (kPipelined) {
    // The products of a step follow one another without a gap: what the next one needs first, S as
    // an operand and the weighted V, is made ready while Vᵀ Pᵀ of this one runs, and the output of
    // a step leaves while the first products of the next do. A step is the chunk whose output this
    // worker makes and, where workers take turns, those of the others up to its next.
    std::uint32_t packed[16];
    int outputs = 0;  // made so far
    auto send_output = [&](int chunk, bool last) {
      const std::uint32_t to = output_tile + (outputs & 1) * kTileBytes;
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        const std::uint32_t(&part)[4] = reinterpret_cast<const std::uint32_t(&)[4]>(packed[4 * n]);
        ptx::store_matrix_transposed(to + at.transposed_offset() + n * 2048, part);
      }
      ptx::fence_proxy_async();
      // The other tile has left: after this barrier the next output may go there.
      if (at.thread == 0) ptx::bulk_wait_read();
      ptx::named_barrier(barrier, 128);
      store_output(chunk, last, to);
    };
    float factor = 1.f;
    if (c < chunks) {
      factor = prepare(weighted, nullptr, ring, c, chunks);
      prepare_state(0);
    }
#pragma unroll 1
    for (; c < chunks; c += kTurns, ++outputs) {
      const std::uint32_t stage = block.stage(ring.stage);
      const bool first = c == 0, last = c + 1 == chunks;
      ptx::wgmma_pin(o);
      ptx::wgmma_fence();
      const std::uint32_t q = block.query(block.query_slot(outputs, ring.stage));
      P::query(o, operand, q, 0, kState / 8, false);
      if constexpr (kSplitState) P::query(o, remainder, q, 0, kState / 8, true);
      ptx::wgmma_commit();
      decay_state(chunk_decay(first, last) * factor);
      ptx::wgmma_fence();
      add_weighted(ring, c, chunks);
      ptx::wgmma_commit();
      if (c > first_output) send_output(c - kTurns, false);
      ptx::wgmma_wait<1>();
      state_read();
      scale_output(first);
      if constexpr (kSplitAll) {
        over_step(ring, c, chunks, [&](int j, Position at_j, bool last, float factor) {
          load_values(block.stage(at_j.stage));
          weigh(lost[j], v, last, factor, weighted[j]);
        });
        ptx::wgmma_fence();
        add_lost(ring, c, chunks);
        ptx::wgmma_commit();
      } else {
        load_values(stage);
      }
      ptx::mbarrier_wait(block.shared.scores.full_at(buffer.stage), buffer.parity);
      ptx::wgmma_fence();
      P::values(o, v, block.scores_tile(buffer.stage));
      if constexpr (kSplitAll) P::values(o, v, block.scores_tile(buffer.stage) + kTileBytes);
      ptx::wgmma_commit();
      ptx::wgmma_wait<1>();  // S is there, O under way
      state_updated();
      release_step(c, chunks);
      if constexpr (kStateFirst) prepare_state(0);
      if (c + kTurns < chunks) factor = prepare(weighted, nullptr, ring, c + kTurns, chunks);
      if constexpr (!kStateFirst) prepare_state(0);
      ptx::wgmma_pin(operand);
      if constexpr (kSplitState) ptx::wgmma_pin(remainder);
      ptx::wgmma_wait<0>();
      ptx::wgmma_pin(o);
      ptx::wgmma_pin(v);
      release_scores();
      buffer.advance();
#pragma unroll
      for (int i = 0; i < 16; ++i) packed[i] = E::pack(o[2 * i], o[2 * i + 1]);
    }
    // c has passed the end by what the last step lacked.
    if (c > first_output) send_output(c - kTurns, c - kTurns + 1 == chunks);
  } else if constexpr (Config::kScorers > 0) {
#pragma unroll 1
    for (; c < chunks; ++c, ring.advance(), buffer.advance()) {
      const std::uint32_t stage = block.stage(ring.stage);
      const std::uint32_t scores_tile = block.scores_tile(buffer.stage);
      const bool first = c == 0, last = c + 1 == chunks;
      block.await(ring, last, barrier, at.thread);
      read_state(block.query(ring.stage));
      update_state(stage, first, last);
      if (at.thread == 0) ptx::bulk_wait_read();  // the previous output tile has left
      ptx::wgmma_wait<1>();                       // O is there, the state is under way
      state_read();
      scale_output(first);
      if constexpr (kSplitAll) load_values(stage);
      ptx::named_barrier(barrier, 128);
      ptx::mbarrier_wait(block.shared.scores.full_at(buffer.stage), buffer.parity);
      ptx::wgmma_fence();
      P::values(o, v, scores_tile);
      if constexpr (kSplitAll) P::values(o, v, scores_tile + kTileBytes);
      ptx::wgmma_commit();
      ptx::wgmma_wait<0>();
      state_updated();
      ptx::wgmma_pin(o);
      ptx::wgmma_pin(v);
      release();
      release_scores();
      stage_output();
      ptx::fence_proxy_async();
      ptx::named_barrier(barrier, 128);
      store_output(c, last, output_tile);
    }
  } else if (c < chunks) {
    const ScoreDecay<kDecayInRegisters> decay(table, at);
    const std::uint32_t scores_tile = block.scores_tile(worker);
    float p[32];
    auto publish = [&] { publish_scores<E, kSplitAll>(p, decay, scores_tile, kTileBytes, at); };
    auto start_scores = [&](int stage) {
      ptx::wgmma_fence();
      P::scores(p, block.query(stage), block.stage(stage));
      ptx::wgmma_commit();
    };
    block.await(ring, c + 1 == chunks, barrier, at.thread);
    ptx::wgmma_pin(p);
    start_scores(ring.stage);
    ptx::wgmma_wait<0>();
    ptx::wgmma_pin(p);
#pragma unroll 1
    do {
      const std::uint32_t stage = block.stage(ring.stage);
      const bool first = c == 0, last = c + 1 == chunks;
      if constexpr (kParts > 1) publish();  // its registers are needed
      read_state(block.query(ring.stage));
      if constexpr (kParts == 1) publish();
      update_state(stage, first, last);
      if (at.thread == 0) ptx::bulk_wait_read();  // the previous output tile has left
      ptx::fence_proxy_async();
      ptx::wgmma_wait<1>();  // O is there, the state is under way
      state_read();
      scale_output(first);
      if constexpr (kSplitAll) load_values(stage);
      ptx::named_barrier(barrier, 128);
      ptx::wgmma_fence();
      P::values(o, v, scores_tile);
      if constexpr (kSplitAll) P::values(o, v, scores_tile + kTileBytes);
      ptx::wgmma_commit();
      ptx::wgmma_wait<0>();
      state_updated();
      ptx::wgmma_pin(o);
      ptx::wgmma_pin(v);
      // Release before waiting: the loader then has the next chunk but one under way.
      release();
      const RingPosition<Config::kStages> next = ring.next();
      if (!last) block.await(next, c + 2 == chunks, barrier, at.thread);
      // P of the next chunk runs behind the epilogue. After the last chunk it is a product of stale
      // memory that nobody reads: making it conditional would serialise every wgmma of the loop.
      start_scores(next.stage);
      stage_output();
      ptx::fence_proxy_async();
      ptx::named_barrier(barrier, 128);
      store_output(c, last, output_tile);
      ring = next;
      ptx::wgmma_wait<0>();
      ptx::wgmma_pin(p);
    } while (++c < chunks);
  }
  store_state<Config::kKeyTiles>(s, params, call, item, table.power[1], value_tile, at);
  if (at.thread == 0) ptx::bulk_wait_read();
}

}  // namespace tnl::cuda
