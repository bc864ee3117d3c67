// The math warpgroup of the sweep: fragments, one chunk's products, states in and out.
#pragma once

#include "backend/cuda/lightning/params.cuh"
#include "backend/cuda/lightning/sweep_config.h"
#include "backend/cuda/ptx/matrix.cuh"
#include "backend/cuda/ptx/sync.cuh"
#include "backend/cuda/ptx/tma.cuh"
#include "backend/cuda/ptx/wgmma.cuh"
#include "backend/cuda/tile/decay_table.cuh"
#include "backend/cuda/tile/element.cuh"
#include "backend/cuda/tile/ring.cuh"
#include "backend/cuda/tile/state_io.cuh"

namespace tnl::cuda {

// Where a thread stands in the fragments of an m64 accumulator: element 4 n + e of a thread lies in
// row 16 warp + group + 8 (e / 2) and column 8 n + pair + e % 2.
struct Lane {
  int thread, warp, lane, group, pair;
  int matrix, row;  // for ldmatrix and stmatrix: which 8x8 tile and which of its rows

  __device__ __forceinline__ explicit Lane(int thread_)
      : thread(thread_),
        warp(thread_ / 32),
        lane(thread_ % 32),
        group(lane / 4),
        pair(2 * (lane % 4)),
        matrix(lane / 8),
        row(lane % 8) {}

  // Byte offset in a swizzled 64x64 tile of 8 tokens by 64 values, read or written transposed.
  __device__ __forceinline__ std::uint32_t transposed_offset() const {
    return ((matrix / 2) * 8 + row) * 128 + (((2 * warp + (matrix & 1)) ^ row) * 16);
  }
  // The same for rows 16 warp .. of a row-major tile, 16-byte column block 0.
  __device__ __forceinline__ std::uint32_t row_offset() const {
    return (16 * warp + (matrix & 1) * 8 + row) * 128;
  }
};

template <class T, class Config>
struct Products {
  static constexpr int kTileBytes = Config::kTileBytes;
  static constexpr int kSteps = 4 * Config::kKeyTiles;  // of 16 along K

  // P = q kᵀ, both with K contiguous.
  static __device__ __forceinline__ void scores(float (&p)[32], std::uint32_t q, std::uint32_t k) {
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      const std::uint32_t offset = (step / 4) * (kTileBytes >> 4) + (step % 4) * 2;
      ptx::wgmma_ss(T{}, p, ptx::wgmma_descriptor(q, 16) + offset,
                    ptx::wgmma_descriptor(k, 16) + offset, step > 0);
    }
  }

  // O (+)= A qᵀ for steps first .. first + count of K; A: 4 registers a step.
  static __device__ __forceinline__ void query(float (&o)[32], const std::uint32_t* a,
                                               std::uint32_t q, int first, int count,
                                               bool accumulate) {
#pragma unroll
    for (int i = 0; i < count; ++i) {
      const int step = first + i;
      const std::uint32_t offset = (step / 4) * (kTileBytes >> 4) + (step % 4) * 2;
      ptx::wgmma_rs<false>(T{}, o, a + 4 * i, ptx::wgmma_descriptor(q, 16) + offset,
                           accumulate || i > 0);
    }
  }

  // O += A Pᵀ over the 64 keys.
  static __device__ __forceinline__ void values(float (&o)[32], const std::uint32_t* a,
                                                std::uint32_t p) {
#pragma unroll
    for (int step = 0; step < 4; ++step) {
      ptx::wgmma_rs<false>(T{}, o, a + 4 * step, ptx::wgmma_descriptor(p, 16) + step * 2, 1);
    }
  }

  // S += A k over the 64 keys; k is read with its rows along the reduction.
  static __device__ __forceinline__ void state(float (&s)[32 * Config::kKeyTiles],
                                               const std::uint32_t* a, std::uint32_t k) {
#pragma unroll
    for (int step = 0; step < 4; ++step) {
      const std::uint64_t b = ptx::wgmma_descriptor(k, kTileBytes) + step * (2048 >> 4);
      if constexpr (Config::kKeyTiles == 1) {
        ptx::wgmma_rs<true>(T{}, s, a + 4 * step, b, 1);
      } else {
#pragma unroll
        for (int half = 0; half < Config::kKeyTiles / 2; ++half) {
          ptx::wgmma_rs<true>(T{}, reinterpret_cast<float(&)[64]>(s[64 * half]), a + 4 * step,
                              b + half * (2 * kTileBytes >> 4), 1);
        }
      }
    }
  }
};

// Rows of a partial chunk that hold no token become zeros, whatever lies there in memory: the next
// sequence of a packed batch, or nothing. 0 · NaN would spread through the products otherwise.
template <class Config>
__device__ __forceinline__ void clear_missing_rows(std::uint32_t stage, int tokens, bool reverse,
                                                   int thread) {
  const int first = reverse ? 0 : tokens, count = kChunk - tokens;
  constexpr int kTiles = Config::kKeyTiles + Config::kWorkers;  // k, then v
  for (int i = thread; i < kTiles * count * 8; i += 128) {
    const int tile = i / (count * 8), within = i % (count * 8);
    const std::uint32_t address = stage + Config::kKeyBytes + tile * Config::kTileBytes +
                                  (first + within / 8) * 128 + (within % 8) * 16;
    asm volatile("st.shared.v4.b32 [%0], {%1, %1, %1, %1};" ::"r"(address), "r"(0) : "memory");
  }
  ptx::fence_proxy_async();
}

// The rows of a partial chunk's output tile that are tokens, 16 bytes at a time.
__device__ __forceinline__ void store_rows(const SweepCall& call, const WorkItem& item,
                                           std::uint32_t tile, int first_row, int value_tile,
                                           int tokens, int thread) {
  const int first = call.reverse ? kChunk - tokens : 0;
  char* base = static_cast<char*>(call.o_data) +
               2 * (item.batch * call.o_stride_batch + item.head * call.o_stride_head);
  for (int i = thread; i < tokens * 8; i += 128) {
    const int row = first + i / 8, piece = i % 8, column = value_tile * kTile + piece * 8;
    if (column >= call.value_dim) continue;
    uint4 x;
    asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
                 : "r"(tile + row * 128 + ((piece ^ (row & 7)) * 16))
                 : "memory");
    const std::int64_t offset = (std::int64_t{first_row} + row) * call.o_stride_token + column;
    *reinterpret_cast<uint4*>(base + 2 * offset) = x;
  }
}

template <class T, class Config>
__device__ __forceinline__ void compute_chunks(const SweepParams& params, const SweepCall& call,
                                               const WorkItem& item, const DecayTable& table,
                                               const RingBarriers<Config::kStages>& barriers,
                                               std::uint32_t tiles, int worker, int value_tile,
                                               int chunks, int last_tokens) {
  using E = Element<T>;
  using P = Products<T, Config>;
  constexpr int kState = 32 * Config::kKeyTiles;  // registers of Sᵀ
  constexpr int kTileBytes = Config::kTileBytes;
  constexpr bool kSplitScores = Config::kSplit != Split::kNone;
  constexpr bool kSplitAll = Config::kSplit == Split::kAll;
  // With K = 256 the operands of O = S q are converted in two parts, or the registers run out.
  constexpr int kParts = Config::kKeyTiles > 2 ? (kSplitAll ? 4 : 2) : 1;
  // For the same reason P leaves its registers before the remainders need some.
  constexpr bool kPublishFirst = kParts > 1;
  constexpr bool kPublishEarly = !kPublishFirst && kSplitAll && Config::kKeyTiles > 1;

  const Lane at(threadIdx.x % 128);
  const int barrier = 1 + worker;
  const std::uint32_t scores_tile =
      tiles + Config::kStages * Config::kStageBytes + worker * (Config::kScoreBytes + kTileBytes);
  const std::uint32_t output_tile = scores_tile + Config::kScoreBytes;
  const std::uint32_t v_offset =
      2 * Config::kKeyBytes + worker * kTileBytes + at.transposed_offset();
  const float* between = table.between + 63 + 16 * at.warp + at.group - at.pair;
  const bool partial = last_tokens < kChunk;

  float s[kState], p[32], o[32];
  std::uint32_t v[16], weighted[16];
  const bool undecayed = load_state<Config::kKeyTiles>(s, params, call, item, value_tile, at);

  auto load_values = [&](std::uint32_t stage) {
#pragma unroll
    for (int i = 0; i < 4; ++i) ptx::load_matrix_transposed(v + 4 * i, stage + v_offset + i * 2048);
  };
  // Vᵀ with column j times its decay up to the end of the chunk; with `rounded`, what that lost.
  auto weigh_values = [&](std::uint32_t(&w)[16], bool last, const std::uint32_t* rounded) {
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
  // Sᵀ = λ^n Sᵀ + (Vᵀ · decay) k, in flight when this returns.
  auto update_state = [&](std::uint32_t stage, bool first, bool last) {
    load_values(stage);
    weigh_values(weighted, last, nullptr);
    const float decay = table.power[(last ? last_tokens : kChunk) - (first && undecayed ? 1 : 0)];
#pragma unroll
    for (int i = 0; i < kState; ++i) s[i] *= decay;
    ptx::wgmma_pin(s);
    ptx::wgmma_fence();
    P::state(s, weighted, stage + Config::kKeyBytes);
    if constexpr (kSplitAll) {
      std::uint32_t remainder[16];
      weigh_values(remainder, last, weighted);
      ptx::wgmma_fence();
      P::state(s, remainder, stage + Config::kKeyBytes);
    }
    ptx::wgmma_commit();
  };
  // Masks and decays P and publishes it in shared memory as the B operand of Vᵀ Pᵀ.
  auto publish_scores = [&] {
#pragma unroll
    for (int n = 0; n < 8; n += 2) {
      std::uint32_t high[4], low[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int column = n + i / 2, r = i % 2;
        const float x = p[4 * column + 2 * r] * between[8 * (r - column)];
        const float y = p[4 * column + 2 * r + 1] * between[8 * (r - column) - 1];
        high[i] = E::pack(x, y);
        if constexpr (kSplitScores) low[i] = E::pack(x - E::low(high[i]), y - E::high(high[i]));
      }
      const std::uint32_t address =
          scores_tile + at.row_offset() + (((n + at.matrix / 2) ^ at.row) * 16);
      ptx::store_matrix(address, high);
      if constexpr (kSplitScores) ptx::store_matrix(address + kTileBytes, low);
    }
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
      if constexpr (kPublishEarly) {
        ptx::wgmma_commit();
        publish_scores();
      }
      if constexpr (kSplitAll) {
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

  RingPosition<Config::kStages> ring;
  auto stage_of = [&](int stage) { return tiles + stage * Config::kStageBytes; };
  auto await = [&](RingPosition<Config::kStages> position, bool last) {
    ptx::mbarrier_wait(barriers.full_at(position.stage), position.parity);
    if (last && partial) {
      clear_missing_rows<Config>(stage_of(position.stage), last_tokens, call.reverse, at.thread);
      ptx::named_barrier(barrier, 128);
    }
  };
  auto release = [&] {  // this warp has read all it needs of the stage
    if constexpr (Config::kCluster > 1) {
      if (at.lane < Config::kCluster) {
        ptx::mbarrier_arrive_at(barriers.empty_at(ring.stage), at.lane);
      }
    } else {
      if (at.lane == 0) ptx::mbarrier_arrive(barriers.empty_at(ring.stage));
    }
  };

  int c = 0;
  for (; c < item.warm_chunks; ++c) {
    await(ring, false);
    update_state(stage_of(ring.stage), c == 0, false);
    ptx::wgmma_wait<0>();
    ptx::wgmma_pin(s);
    release();
    ring.advance();
  }

  if (c < chunks) {
    await(ring, c + 1 == chunks);
    ptx::wgmma_pin(p);
    ptx::wgmma_fence();
    P::scores(p, stage_of(ring.stage), stage_of(ring.stage) + Config::kKeyBytes);
    ptx::wgmma_commit();
    ptx::wgmma_wait<0>();
    ptx::wgmma_pin(p);
#pragma unroll 1
    do {
      const std::uint32_t stage = stage_of(ring.stage);
      const bool first = c == 0, last = c + 1 == chunks;
      if constexpr (kPublishFirst) publish_scores();
      read_state(stage);
      update_state(stage, first, last);
      if constexpr (!kPublishFirst && !kPublishEarly) publish_scores();
      if (at.thread == 0) ptx::bulk_wait_read();  // the previous output tile has left
      ptx::fence_proxy_async();
      ptx::wgmma_wait<1>();  // O is there, the state is under way
      ptx::wgmma_pin(o);
      scale_output(first);
      if constexpr (kSplitAll) load_values(stage);
      ptx::named_barrier(barrier, 128);
      ptx::wgmma_fence();
      P::values(o, v, scores_tile);
      if constexpr (kSplitScores) P::values(o, v, scores_tile + kTileBytes);
      ptx::wgmma_commit();
      ptx::wgmma_wait<0>();
      ptx::wgmma_pin(s);
      ptx::wgmma_pin(o);
      // Release before waiting: the loader then has the next chunk but one under way.
      release();
      const RingPosition<Config::kStages> next = ring.next();
      if (!last) await(next, c + 2 == chunks);
      // P of the next chunk runs behind the epilogue. After the last chunk it is a product of stale
      // memory that nobody reads: making it conditional would serialise every wgmma of the loop.
      ptx::wgmma_fence();
      P::scores(p, stage_of(next.stage), stage_of(next.stage) + Config::kKeyBytes);
      ptx::wgmma_commit();
      stage_output();
      ptx::fence_proxy_async();
      ptx::named_barrier(barrier, 128);
      const int row = item.row + (call.reverse ? -(c + 1) : c) * kChunk;
      if (last && partial) {
        store_rows(call, item, output_tile, row, value_tile, last_tokens, at.thread);
      } else if (at.thread == 0) {
        ptx::tma_store(&call.o, output_tile, {value_tile * kTile, row, item.head, item.batch});
        ptx::bulk_commit();
      }
      ring = next;
      ptx::wgmma_wait<0>();
      ptx::wgmma_pin(p);
    } while (++c < chunks);
  }
  store_state<Config::kKeyTiles>(s, params, call, item, table.power[1], value_tile, at);
  if (at.thread == 0) ptx::bulk_wait_read();
}

}  // namespace tnl::cuda
