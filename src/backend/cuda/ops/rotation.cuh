// What LRPE turns a column by (docs/math.md).
#pragma once

#include <cstdint>

#include "backend/cuda/tile/scalar.cuh"
#include "tnl/tensor.h"

namespace tnl::cuda {

struct SineCosine {
  float sine, cosine;
};

// phase = n π/2 + r with |r| <= π/4 in fp64; π/2 in two parts, so that n times the first is exact.
__device__ __forceinline__ SineCosine sine_cosine(double phase) {
  const double turns = rint(phase * 0.63661977236758134308);
  const float r = static_cast<float>(
      fma(-turns, 6.07710050650619224932e-11, fma(-turns, 1.57079632673412561417, phase)));
  const int n = static_cast<int>(static_cast<long long>(turns) & 3);
  const float s = r * r;  // Taylor: the first term left out is below 2e-9
  float sine = fmaf(2.7557319e-6f, s, -1.9841270e-4f);
  sine = fmaf(fmaf(fmaf(sine, s, 8.3333333e-3f), s, -1.6666667e-1f), s * r, r);
  float cosine = fmaf(-2.7557319e-7f, s, 2.4801587e-5f);
  cosine = fmaf(fmaf(fmaf(fmaf(cosine, s, -1.3888889e-3f), s, 4.1666667e-2f), s, -0.5f), s, 1.f);
  if (n & 1) {
    const float swap = sine;
    sine = cosine;
    cosine = swap;
  }
  return {n & 2 ? -sine : sine, (n + 1) & 2 ? -cosine : cosine};
}

__device__ __forceinline__ float stored_value(const void* data, DType dtype, std::int64_t i) {
  if (dtype == DType::kF32) return static_cast<const float*>(data)[i];
  if (dtype == DType::kBF16) return to_float(static_cast<const __nv_bfloat16*>(data)[i]);
  return to_float(static_cast<const __half*>(data)[i]);
}

// Column h D + j of a block of y goes to h 2D + j of q or k, its sine to D behind that.
__device__ __forceinline__ std::int64_t rotated_column(std::int64_t column, std::int64_t head_dim) {
  return column / head_dim * (2 * head_dim) + column % head_dim;
}

}  // namespace tnl::cuda
