// The register-blocked micro-kernel all products of attention are made of, and the transposition
// of a square of registers.
#pragma once

#include "backend/cpu/simd/vec.h"

namespace tnl::TNL_TARGET {

// An accumulator tile is kTileRows x kTileVectors registers. It leaves room for the row of B and a
// broadcast element of A: 16 + 3 of 32 registers, or 8 + 3 of 16 (docs/kernels/attention_cpu.md).
#if TNL_LANES == 16
inline constexpr int kTileRows = 8;
inline constexpr int kTileVectors = 2;
#else
inline constexpr int kTileRows = 4;
inline constexpr int kTileVectors = 2;
#endif
inline constexpr std::int64_t kPanel = kTileVectors * kLanes;

template <int kVectors>
struct Tile {
  Vec acc[kTileRows][kVectors];
};

// Where element (row r, depth d) of A lies: kColumns at a[d * stride + r], kRows at
// a[r * stride + d].
enum class Walk { kColumns, kRows };

// tile += A · B over `depth`; B's row d starts at b + d * b_stride.
template <Walk kWalk, int kVectors>
TNL_INLINE void accumulate(Tile<kVectors>& tile, const float* a, std::int64_t a_stride,
                           const float* b, std::int64_t b_stride, std::int64_t depth) {
  for (std::int64_t d = 0; d < depth; ++d) {
    Vec row[kVectors];
#pragma GCC unroll 8
    for (int x = 0; x < kVectors; ++x) row[x] = load(b + x * kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < kTileRows; ++r) {
      const Vec element = broadcast(kWalk == Walk::kColumns ? a[r] : a[r * a_stride]);
#pragma GCC unroll 8
      for (int x = 0; x < kVectors; ++x) tile.acc[r][x] += element * row[x];
    }
    a += kWalk == Walk::kColumns ? a_stride : 1;
    b += b_stride;
  }
}

#if TNL_LANES == 16
#define TNL_LOW_HALVES 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define TNL_HIGH_HALVES 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif TNL_LANES == 8
#define TNL_LOW_HALVES 0, 8, 1, 9, 2, 10, 3, 11
#define TNL_HIGH_HALVES 4, 12, 5, 13, 6, 14, 7, 15
#else
#define TNL_LOW_HALVES 0, 4, 1, 5
#define TNL_HIGH_HALVES 2, 6, 3, 7
#endif

// Interleaving row r with row r + kLanes / 2 rotates the bits of an element's (row, column) by one,
// so log2(kLanes) rounds exchange row and column.
TNL_INLINE void transpose(Vec (&rows)[kLanes]) {
#pragma GCC unroll 4
  for (int round = 1; round < kLanes; round *= 2) {
    Vec next[kLanes];
#pragma GCC unroll 8
    for (int r = 0; r < kLanes / 2; ++r) {
      next[2 * r] = __builtin_shufflevector(rows[r], rows[r + kLanes / 2], TNL_LOW_HALVES);
      next[2 * r + 1] = __builtin_shufflevector(rows[r], rows[r + kLanes / 2], TNL_HIGH_HALVES);
    }
#pragma GCC unroll 16
    for (int r = 0; r < kLanes; ++r) rows[r] = next[r];
  }
}
#undef TNL_LOW_HALVES
#undef TNL_HIGH_HALVES

}  // namespace tnl::TNL_TARGET
