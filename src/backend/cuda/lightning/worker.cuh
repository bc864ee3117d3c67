// A worker of the sweep: the warpgroup that owns one tile of V and the state Sᵀ[64, K]. Here what
// it holds in registers and the steps that work on it; the loops over the chunks are in
// worker_loops.cuh.
#pragma once

#include "backend/cuda/lightning/block.cuh"
#include "backend/cuda/ptx/tma.cuh"
#include "backend/cuda/tile/state_io.cuh"

namespace tnl::cuda {

template <class T, class Config>
struct Worker {
  using E = Element<T>;
  using P = Products<T, Config>;
  using Position = RingPosition<Config::kStages>;
  static constexpr int kTurns = Config::kTurns;
  static constexpr int kState = 32 * Config::kKeyTiles;  // registers of Sᵀ
  static constexpr int kTileBytes = Config::kTileBytes;
  static constexpr bool kSplitState = Config::kSplit != Split::kNone;
  static constexpr bool kSplitAll = Config::kSplit == Split::kAll;
  // With K = 256 the operands of O = S q are converted in two parts, or the registers run out.
  static constexpr int kParts = Config::kKeyTiles > 2 ? (kSplitState ? 4 : 2) : 1;
  static constexpr int kPart = kState / 2 / kParts;  // registers of one part as an operand
  // The weighted V of a step and what it lost.
  using Operand = std::uint32_t[kTurns][16];
  using Lost = std::uint32_t[kTurns][kSplitAll ? 16 : 1];

  const Block<Config>& block;
  const SweepCall& call;
  const WorkItem& item;
  const DecayTable& table;
  const Lane& at;
  const int barrier, value_tile, chunks;
  const std::uint32_t output_tile, v_offset;
  const bool partial;  // the last chunk
  bool undecayed;      // the state that came in
  float s[kState], o[32];
  std::uint32_t v[16];
  Operand weighted;
  Lost lost;
  std::uint32_t operand[kPart], remainder[kSplitState ? kPart : 1];  // S as an operand
  Position ring;
  RingPosition<2> buffer;  // of P
  int c = 0;               // the chunk at which it stands

  __device__ __forceinline__ Worker(const Block<Config>& block_, const Lane& at_, int worker)
      : block(block_),
        call(block.call()),
        item(block.item),
        table(block.table()),
        at(at_),
        barrier(1 + worker),
        value_tile(block.first_value_tile + worker),
        chunks(block.chunks),
        output_tile(block.tiles + Config::kOutputOffset +
                    worker * Config::kOutputTiles * kTileBytes),
        v_offset(Config::kKeyBytes + worker * kTileBytes + at.transposed_offset()),
        partial(block.last_tokens < kChunk) {
    undecayed = load_state<Config::kKeyTiles>(s, block.params, call, item, value_tile, at);
  }
  // The state to where it goes, after the last chunk.
  __device__ __forceinline__ void finish() {
    store_state<Config::kKeyTiles>(s, block.params, call, item, table.power[1], value_tile, at);
    if (at.thread == 0) ptx::bulk_wait_read();
  }

  __device__ __forceinline__ void load_values(std::uint32_t stage) {
    load_value_fragments(v, stage + v_offset);
  }
  // Factors of V's columns up to the end of their chunk.
  __device__ __forceinline__ const float* column_decay(bool last) const {
    return (last ? table.to_last : table.to_end) + at.pair;
  }
  __device__ __forceinline__ float chunk_decay(bool first, bool last) const {
    return table.power[(last ? block.last_tokens : kChunk) - (first && undecayed ? 1 : 0)];
  }
  __device__ __forceinline__ void decay_state(float decay) {
#pragma unroll
    for (int i = 0; i < kState; ++i) s[i] *= decay;
    ptx::wgmma_pin(s);
  }
  // Sᵀ = λ^n Sᵀ + (Vᵀ · decay) k, in flight when this returns.
  __device__ __forceinline__ void update_state(std::uint32_t stage, bool first, bool last) {
    load_values(stage);
    weigh_values<E>(weighted[0], v, column_decay(last), nullptr);
    if constexpr (kSplitAll) weigh_values<E>(lost[0], v, column_decay(last), weighted[0]);
    decay_state(chunk_decay(first, last));
    ptx::wgmma_fence();
    P::state(s, weighted[0], stage);
    if constexpr (kSplitAll) P::state(s, lost[0], stage);
    ptx::wgmma_commit();
  }
  __device__ __forceinline__ void state_updated() {  // behind the wait for it
    ptx::wgmma_pin(s);
#pragma unroll
    for (int j = 0; j < kTurns; ++j) {
      ptx::wgmma_pin(weighted[j]);
      if constexpr (kSplitAll) ptx::wgmma_pin(lost[j]);
    }
  }

  __device__ __forceinline__ void prepare_state(int part) {
    const float* x = s + 2 * part * kPart;
#pragma unroll
    for (int i = 0; i < kPart; ++i) {
      operand[i] = E::pack(x[2 * i], x[2 * i + 1]);
      if constexpr (kSplitState) {
        remainder[i] = E::pack(x[2 * i] - E::low(operand[i]), x[2 * i + 1] - E::high(operand[i]));
      }
    }
  }
  // O = bf16(Sᵀ) qᵀ, in flight when this returns, or done where it takes several parts.
  __device__ __forceinline__ void read_state(std::uint32_t q) {
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
  }
  __device__ __forceinline__ void state_read() {  // behind the wait for it
    ptx::wgmma_pin(o);
    ptx::wgmma_pin(operand);
    if constexpr (kSplitState) ptx::wgmma_pin(remainder);
  }

  __device__ __forceinline__ void scale_output(bool first) {
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
  }
  // The output tile is in shared memory: to the tensor with it.
  __device__ __forceinline__ void store_output(int chunk, bool last, std::uint32_t tile) const {
    const int row = item.row + (call.reverse ? -(chunk + 1) : chunk) * kChunk;
    if (last && partial) {
      store_rows(call, item, tile, row, value_tile, block.last_tokens, at.thread);
    } else if (at.thread == 0) {
      ptx::tma_store(&call.o, tile, {value_tile * kTile, row, 0, item.head, item.batch});
      ptx::bulk_commit();
    }
  }
  // O of a chunk to the tensor, where the next chunk's products do not hide it.
  __device__ __forceinline__ void send_output(int chunk, bool last) const {
    stage_output<E>(o, output_tile, at);
    ptx::fence_proxy_async();
    ptx::named_barrier(barrier, 128);
    store_output(chunk, last, output_tile);
  }

  __device__ __forceinline__ void release() const {  // this warp has read all it needs of the stage
    block.release(ring.stage, at.lane);
  }
  __device__ __forceinline__ void release_scores() const {
    if (at.lane == 0) ptx::mbarrier_arrive(block.shared.scores.empty_at(buffer.stage));
  }

  // Calls body(j, position, last, factor) for the chunks first + j of a step, from the last one on;
  // factor: the decay over those behind. A chunk that is not before `limit` stands for no token:
  // its products are those of the first by zeros, as a condition would serialise every wgmma of the
  // loop. Returns the decay over all but the first.
  template <class Body>
  __device__ __forceinline__ float over_step(Position from, int first, int limit, Body body) const {
    float factor = 1.f;
#pragma unroll
    for (int j = kTurns - 1; j > 0; --j) {
      Position position = from;
#pragma unroll
      for (int i = 0; i < j; ++i) position.advance();
      const bool there = first + j < limit;
      const bool last = (there ? first + j : first) + 1 == chunks;
      body(j, there ? position : from, last, there ? factor : 0.f);
      if (there) factor *= chunk_decay(false, last);
    }
    body(0, from, first + 1 == chunks, factor);
    return factor;
  }
  // The weighted V of a step and, unless that is made later, what it lost.
  __device__ __forceinline__ float prepare(Operand& to, Lost* low, Position from, int first,
                                           int limit) const {
    return over_step(from, first, limit, [&](int j, Position at_j, bool last, float factor) {
      block.await(at_j, last, barrier, at.thread);
      std::uint32_t raw[16];
      load_value_fragments(raw, block.stage(at_j.stage) + v_offset);
      weigh_values<E, (kTurns > 1)>(to[j], raw, column_decay(last), nullptr, factor);
      if constexpr (kSplitAll) {
        if (low != nullptr) {
          weigh_values<E, (kTurns > 1)>((*low)[j], raw, column_decay(last), to[j], factor);
        }
      }
    });
  }
  // What the weighted V of this step, not kept by `prepare`, lost.
  __device__ __forceinline__ void prepare_lost() {
    over_step(ring, c, chunks, [&](int j, Position at_j, bool last, float factor) {
      load_values(block.stage(at_j.stage));
      weigh_values<E, (kTurns > 1)>(lost[j], v, column_decay(last), weighted[j], factor);
    });
  }
  __device__ __forceinline__ void add_weighted(int limit) {
    over_step(ring, c, limit, [&](int j, Position at_j, bool, float) {
      P::state(s, weighted[j], block.stage(at_j.stage));
    });
  }
  __device__ __forceinline__ void add_lost(int limit) {
    if constexpr (kSplitAll) {
      over_step(ring, c, limit, [&](int j, Position at_j, bool, float) {
        P::state(s, lost[j], block.stage(at_j.stage));
      });
    }
  }
  __device__ __forceinline__ void release_step(int limit) {
#pragma unroll
    for (int j = 0; j < kTurns; ++j, ring.advance()) {
      if (j == 0 || c + j < limit) release();
    }
  }
};

}  // namespace tnl::cuda
