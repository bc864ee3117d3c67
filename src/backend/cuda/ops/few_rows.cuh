// y = x Wᵀ for a few rows of x, bf16, with the steps before and after it fused in: decoding. The
// floor is the bytes of W, so every kernel here is arranged around streaming W
// (docs/kernels/decode.md).
//
// A block owns 16 rows of W, an A operand of mma, or two times 16 (few_rows.cu); its warps split
// the depth between them and have their first steps of W under way before the kernel in front of
// this one has ended. The rows of x are B operands, 8 a tile. Where a sum is cut depends on the
// depth alone: a row of y has the same bits whatever rows come with it.
//
// What comes before the product is done to x on its way into registers, except for the norm: its
// factor is one number a row, known when all of x has passed by, and multiplies the result.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "backend/cuda/ops/activation.cuh"
#include "backend/cuda/ops/rotation.cuh"
#include "backend/cuda/ops/vector.cuh"
#include "backend/cuda/ptx/mma.cuh"
#include "backend/cuda/ptx/sync.cuh"

namespace tnl::cuda {

using bf16 = __nv_bfloat16;

inline constexpr int kStepDepth = 32;  // of two products: 8 elements, 16 bytes, a lane
inline constexpr int kTileRows = 8;    // rows of x in a tile

struct FewRows {
  const bf16* w;
  std::int64_t w_stride;
  std::int64_t second_half;    // rows of W from a block's first eight to its second eight
  std::int64_t block_columns;  // from block to block
  std::int64_t columns;        // of the first eight rows: [0, columns)
  std::int64_t w_rows;
  std::int32_t rows, steps;  // of x; of the depth
};

// 16 bytes of W, which are read once. Not ld.global.nc: the compiler moves a wait for the grid
// before in front of loads that cannot change.
__device__ __forceinline__ uint4 stream_load(const bf16* from) {
  uint4 x;
  asm volatile("ld.global.L1::no_allocate.L2::256B.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
               : "l"(from));
  return x;
}

__device__ __forceinline__ float2 unpack(std::uint32_t two) {
  return make_float2(__uint_as_float(two << 16), __uint_as_float(two & 0xffff0000u));
}
__device__ __forceinline__ std::uint32_t pack(float low, float high) {
  const __nv_bfloat162 two = __floats2bfloat162_rn(low, high);
  return reinterpret_cast<const std::uint32_t&>(two);
}
__device__ __forceinline__ void add_squares(float& sum, uint4 x) {
  for (const std::uint32_t two : {x.x, x.y, x.z, x.w}) {
    const float2 y = unpack(two);
    sum = fmaf(y.x, y.x, fmaf(y.y, y.y, sum));
  }
}

struct PlainInput {
  View<const bf16> x;
  static constexpr bool kNormed = false;
  __device__ __forceinline__ uint4 load(std::int64_t row, std::int64_t at, float&) const {
    return *reinterpret_cast<const uint4*>(x.row(row) + at);
  }
};

struct NormInput {
  View<const bf16> x;
  float eps;
  static constexpr bool kNormed = true;
  __device__ __forceinline__ uint4 load(std::int64_t row, std::int64_t at, float& squares) const {
    const uint4 values = *reinterpret_cast<const uint4*>(x.row(row) + at);
    add_squares(squares, values);
    return values;
  }
};

// gate(u) o, the norm that of o.
template <bool kSigmoid>
struct GateInput {
  View<const bf16> o, u;
  float eps;
  static constexpr bool kNormed = true;
  static __device__ __forceinline__ std::uint32_t gated(std::uint32_t o, std::uint32_t u) {
    const float2 x = unpack(o), y = unpack(u);
    if constexpr (kSigmoid) return pack(x.x * sigmoid(y.x).value, x.y * sigmoid(y.y).value);
    return pack(x.x * y.x, x.y * y.y);
  }
  __device__ __forceinline__ uint4 load(std::int64_t row, std::int64_t at, float& squares) const {
    const uint4 x = *reinterpret_cast<const uint4*>(o.row(row) + at);
    const uint4 y = *reinterpret_cast<const uint4*>(u.row(row) + at);
    add_squares(squares, x);
    return make_uint4(gated(x.x, y.x), gated(x.y, y.y), gated(x.z, y.z), gated(x.w, y.w));
  }
};

// y = alpha a + beta r; r may be y.
struct PlainOutput {
  View<bf16> y;
  View<const bf16> r;
  float alpha, beta;
  __device__ __forceinline__ void put(std::int64_t row, std::int64_t column, float a) const {
    float value = alpha * a;
    if (beta != 0.f) value = fmaf(beta, to_float(r.row(row)[column]), value);
    from_float(value, y.row(row)[column]);
  }
  __device__ __forceinline__ void put_both(std::int64_t row, std::int64_t first, float a,
                                           std::int64_t second, float b, bool has_second) const {
    put(row, first, a);
    if (has_second) put(row, second, b);
  }
};

// The fused projection and what split() makes of it.
struct SplitOutput {
  View<bf16> projection, q, k, v;  // v without data: it is the projection's own third block
  const void* theta;
  DType theta_dtype;
  const std::int64_t* positions;
  std::int64_t width, head_dim;
  bool silu_qk, silu_v;

  __device__ __forceinline__ void put(std::int64_t row, std::int64_t column, float a) const {
    bf16& raw = projection.row(row)[column];
    from_float(a, raw);
    if (column >= 3 * width) return;
    const std::int64_t block = column / width, at = column - block * width;
    const float y = to_float(raw);  // as split() would read it
    const float x = (block == 2 ? silu_v : silu_qk) ? silu(y) : y;
    if (block == 2) {
      if (v.data != nullptr) from_float(x, v.row(row)[at]);
      return;
    }
    bf16* const to = (block == 0 ? q : k).row(row);
    if (theta == nullptr) return from_float(x, to[at]);
    const double angle = stored_value(theta, theta_dtype, at);
    const SineCosine wave = sine_cosine(angle * static_cast<double>(positions[row]));
    const std::int64_t rotated = rotated_column(at, head_dim);
    from_float(x * wave.cosine, to[rotated]);
    from_float(x * wave.sine, to[rotated + head_dim]);
  }
  __device__ __forceinline__ void put_both(std::int64_t row, std::int64_t first, float a,
                                           std::int64_t second, float b, bool has_second) const {
    put(row, first, a);
    if (has_second) put(row, second, b);
  }
};

// The two halves of a GLU and their product.
struct ProductOutput {
  View<bf16> both, product;
  __device__ __forceinline__ void put_both(std::int64_t row, std::int64_t first, float a,
                                           std::int64_t second, float b, bool) const {
    bf16 *const left = both.row(row) + first, *const right = both.row(row) + second;
    from_float(a, *left);
    from_float(b, *right);
    if (product.data == nullptr) return;
    from_float(to_float(*left) * to_float(*right), product.row(row)[first]);
  }
};

// Partial sums of a block's warps: kWide tiles of W, 16 rows each, times kTiles tiles of x.
template <int kTiles, int kWide, int kWarps>
struct PartialSums {
  float sums[kWarps][4 * kTiles * kWide][32];
  float squares[kWarps][kTileRows * kTiles];

  // Adds up what the warps have for row `row` of the block, in their order.
  __device__ __forceinline__ float sum(int wide, int row, int column, bool second) const {
    const int lane = 4 * column + row % kTileRows / 2;
    const int at = 4 * (wide * kTiles + row / kTileRows) + row % 2 + (second ? 2 : 0);
    float total = 0.f;
#pragma unroll
    for (int warp = 0; warp < kWarps; ++warp) total += sums[warp][at][lane];
    return total;
  }
  __device__ __forceinline__ float norm(int row, std::int64_t depth, float eps) const {
    float total = 0.f;
#pragma unroll
    for (int warp = 0; warp < kWarps; ++warp) total += squares[warp][row];
    return 1.f / sqrtf(total / static_cast<float>(depth) + eps);
  }
};

// Blocks a multiprocessor, by the registers that their sums and their share of x take.
constexpr int blocks_for(int tiles, int wide, int warps) {
  if (warps > 8) return 1;
  return tiles * wide == 1 ? 3 : 2;
}

// kAhead: steps of W in flight.
template <class Input, class Output, int kTiles, int kWide, int kWarps, int kAhead>
__global__ void __launch_bounds__(32 * kWarps, blocks_for(kTiles, kWide, kWarps))
    few_rows_kernel(const FewRows p, const Input input, const Output output) {
  __shared__ PartialSums<kTiles, kWide, kWarps> shared;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int group = lane / 4, quad = lane % 4;
  const std::int64_t first_column = blockIdx.x * (kWide * p.block_columns);
  const std::int64_t first_row = blockIdx.y * (kTileRows * kTiles);
  const int share = (p.steps + kWarps - 1) / kWarps;
  const int end = min((warp + 1) * share, p.steps);
  int step = warp * share;

  const bf16 *w_upper[kWide], *w_lower[kWide];
#pragma unroll
  for (int wide = 0; wide < kWide; ++wide) {  // rows that are not there read one that is
    const std::int64_t row = first_column + wide * p.block_columns + group;
    w_upper[wide] = p.w + min(row, p.w_rows - 1) * p.w_stride + 8 * quad;
    w_lower[wide] = p.w + min(row + p.second_half, p.w_rows - 1) * p.w_stride + 8 * quad;
  }
  uint4 ahead[kAhead][kWide][2];
  const auto fetch = [&](int slot, int at) {
#pragma unroll
    for (int wide = 0; wide < kWide; ++wide) {
      ahead[slot][wide][0] = ahead[slot][wide][1] = make_uint4(0, 0, 0, 0);
      if (at < end) {
        ahead[slot][wide][0] = stream_load(w_upper[wide] + std::int64_t{kStepDepth} * at);
        ahead[slot][wide][1] = stream_load(w_lower[wide] + std::int64_t{kStepDepth} * at);
      }
    }
  };
#pragma unroll
  for (int i = 0; i < kAhead; ++i) {
    fetch(i, step + i);
  }
  ptx::wait_for_previous_grid();
  ptx::launch_next_grid();

  float sums[kWide][kTiles][4] = {}, squares[kTiles] = {};
  std::int64_t rows[kTiles];
#pragma unroll
  for (int t = 0; t < kTiles; ++t) {
    rows[t] = min(first_row + t * kTileRows + group, static_cast<std::int64_t>(p.rows) - 1);
  }
  for (; step < end; step += kAhead) {
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int at = step + i;
#pragma unroll
      for (int t = 0; t < kTiles; ++t) {
        uint4 x = make_uint4(0, 0, 0, 0);
        if (at < end) {
          x = input.load(rows[t], std::int64_t{kStepDepth} * at + 8 * quad, squares[t]);
        }
#pragma unroll
        for (int wide = 0; wide < kWide; ++wide) {
          const uint4 a = ahead[i][wide][0], b = ahead[i][wide][1];
          ptx::mma(bf16(), sums[wide][t], {a.x, b.x, a.y, b.y}, x.x, x.y);
          ptx::mma(bf16(), sums[wide][t], {a.z, b.z, a.w, b.w}, x.z, x.w);
        }
      }
      fetch(i, at + kAhead);
    }
  }

#pragma unroll
  for (int t = 0; t < kTiles; ++t) {
#pragma unroll
    for (int wide = 0; wide < kWide; ++wide) {
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        shared.sums[warp][4 * (wide * kTiles + t) + c][lane] = sums[wide][t][c];
      }
    }
    if constexpr (Input::kNormed) {
      float sum = squares[t];
      sum += __shfl_xor_sync(0xffffffffu, sum, 1);
      sum += __shfl_xor_sync(0xffffffffu, sum, 2);
      if (quad == 0) shared.squares[warp][t * kTileRows + group] = sum;
    }
  }
  __syncthreads();
  constexpr int kColumns = 8 * kWide;  // and as many in their second halves
  for (int i = threadIdx.x; i < kColumns * kTileRows * kTiles; i += 32 * kWarps) {
    const int row = i / kColumns, wide = i % kColumns / 8, column = i % 8;
    const std::int64_t first = first_column + wide * p.block_columns + column;
    if (first_row + row >= p.rows || first >= p.columns) continue;
    float a = shared.sum(wide, row, column, false), b = shared.sum(wide, row, column, true);
    if constexpr (Input::kNormed) {
      const float r = shared.norm(row, std::int64_t{kStepDepth} * p.steps, input.eps);
      a *= r;
      b *= r;
    }
    const std::int64_t second = first + p.second_half;
    output.put_both(first_row + row, first, a, second, b, second < p.w_rows);
  }
}

}  // namespace tnl::cuda
