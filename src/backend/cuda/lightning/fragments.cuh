// Fragments, the products of one chunk and what else its roles share.
#pragma once

#include "backend/cuda/lightning/params.cuh"
#include "backend/cuda/lightning/sweep_config.h"
#include "backend/cuda/ptx/matrix.cuh"
#include "backend/cuda/ptx/sync.cuh"
#include "backend/cuda/ptx/wgmma.cuh"
#include "backend/cuda/tile/decay_table.cuh"
#include "backend/cuda/tile/element.cuh"
#include "backend/cuda/tile/ring.cuh"

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

// Vᵀ of a tile of values as the A operand of a product; `from`: the tile plus transposed_offset().
__device__ __forceinline__ void load_value_fragments(std::uint32_t (&v)[16], std::uint32_t from) {
#pragma unroll
  for (int i = 0; i < 4; ++i) ptx::load_matrix_transposed(v + 4 * i, from + i * 2048);
}

// Vᵀ with column j times factors[j - pair] and, where it is kScaled, times `scale`; with `rounded`,
// what that lost.
template <class E, bool kScaled = false>
__device__ __forceinline__ void weigh_values(std::uint32_t (&w)[16], const std::uint32_t (&v)[16],
                                             const float* factors, const std::uint32_t* rounded,
                                             float scale = 1) {
#pragma unroll
  for (int i = 0; i < 16; ++i) {
    float2 f = reinterpret_cast<const float2*>(factors)[4 * (2 * (i / 4) + ((i & 2) ? 1 : 0))];
    if constexpr (kScaled) f = make_float2(f.x * scale, f.y * scale);
    // The remainder of the exact product: one rounding, whatever the compiler would contract.
    w[i] = rounded ? E::pack(fmaf(E::low(v[i]), f.x, -E::low(rounded[i])),
                             fmaf(E::high(v[i]), f.y, -E::high(rounded[i])))
                   : E::pack(E::low(v[i]) * f.x, E::high(v[i]) * f.y);
  }
}

// Oᵀ, packed in pairs of neighbouring values, into a tile of 64 tokens by 64 values.
__device__ __forceinline__ void stage_packed_output(const std::uint32_t (&packed)[16],
                                                    std::uint32_t tile, const Lane& at) {
#pragma unroll
  for (int n = 0; n < 4; ++n) {
    const std::uint32_t(&part)[4] = reinterpret_cast<const std::uint32_t(&)[4]>(packed[4 * n]);
    ptx::store_matrix_transposed(tile + at.transposed_offset() + n * 2048, part);
  }
}
template <class E>
__device__ __forceinline__ void stage_output(const float (&o)[32], std::uint32_t tile,
                                             const Lane& at) {
  std::uint32_t packed[16];
#pragma unroll
  for (int i = 0; i < 16; ++i) packed[i] = E::pack(o[2 * i], o[2 * i + 1]);
  stage_packed_output(packed, tile, at);
}

// Rows of a partial chunk that hold no token become zeros, whatever lies there in memory: the next
// sequence of a packed batch, or nothing. 0 · NaN would spread through the products otherwise.
template <class Config>
__device__ __forceinline__ void clear_missing_rows(std::uint32_t stage, int tokens, bool reverse,
                                                   int thread) {
  const unsigned first = reverse ? 0 : tokens, count = kChunk - tokens;
  constexpr int kTiles = Config::kKeyTiles + Config::kWorkers;  // k, then v
  for (unsigned i = thread; i < 8 * count; i += 128) {
    const std::uint32_t address = stage + (first + i / 8) * 128 + i % 8 * 16;
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      asm volatile(
          "st.shared.v4.b32 [%0], {%1, %1, %1, %1};" ::"r"(address + tile * Config::kTileBytes),
          "r"(0)
          : "memory");
    }
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
  for (unsigned i = thread; i < 8u * tokens; i += 128) {
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

// The decay of P: element (i, j) is scaled by table.between[63 + i - j], 18 different factors a
// thread; in registers where there is room.
template <bool kInRegisters>
struct ScoreDecay {
  const float* between;
  float factor[kInRegisters ? 18 : 1];

  __device__ __forceinline__ ScoreDecay(const DecayTable& table, const Lane& at)
      : between(table.between + 63 + 16 * at.warp + at.group - at.pair) {
    if constexpr (kInRegisters) {
#pragma unroll
      for (int i = 0; i < 18; ++i) factor[i] = between[8 * (i / 2 - 7) - i % 2];
    }
  }
  // rows: eights of rows below the eights of columns, -7 .. 1; odd: the odd column of the pair.
  __device__ __forceinline__ float at(int rows, int odd) const {
    if constexpr (kInRegisters) return factor[2 * (rows + 7) + odd];
    return between[8 * rows - odd];
  }
};

// Masks and decays P and publishes it in shared memory as the B operand of Vᵀ Pᵀ; with kSplit a
// second tile holds what rounding lost.
template <class E, bool kSplit, class Decay>
__device__ __forceinline__ void publish_scores(const float (&p)[32], const Decay& decay,
                                               std::uint32_t tile, int tile_bytes, const Lane& at) {
#pragma unroll
  for (int n = 0; n < 8; n += 2) {
    std::uint32_t high[4], low[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int column = n + i / 2, r = i % 2;
      const float x = p[4 * column + 2 * r], y = p[4 * column + 2 * r + 1];
      const float f = decay.at(r - column, 0), g = decay.at(r - column, 1);
      high[i] = E::pack(x * f, y * g);
      if constexpr (kSplit) {
        low[i] = E::pack(fmaf(x, f, -E::low(high[i])), fmaf(y, g, -E::high(high[i])));
      }
    }
    const std::uint32_t address = tile + at.row_offset() + (((n + at.matrix / 2) ^ at.row) * 16);
    ptx::store_matrix(address, high);
    if constexpr (kSplit) ptx::store_matrix(address + tile_bytes, low);
  }
}

}  // namespace tnl::cuda
