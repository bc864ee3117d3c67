// Operations without sums over a row: a thread does one vector of columns of one row.
#pragma once

#include <type_traits>

#include "backend/cuda/lightning/kernels.h"
#include "backend/cuda/ops/vector.cuh"

namespace tnl::cuda {

inline constexpr int kStripLanes = 32, kStripRows = 8;  // vectors and rows of a block

// `body(row, column)` for the first column of every vector of kCount columns. Neighbouring blocks
// walk along the rows.
template <int kCount, class Body>
__global__ void __launch_bounds__(kStripLanes* kStripRows)
    elementwise_kernel(std::int64_t rows, std::int64_t cols, unsigned strips, Body body) {
  const std::int64_t row =
      static_cast<std::int64_t>(blockIdx.x / strips) * kStripRows + threadIdx.y;
  const std::int64_t column =
      (static_cast<std::int64_t>(blockIdx.x % strips) * kStripLanes + threadIdx.x) * kCount;
  if (row < rows && column < cols) body(row, column);
}

template <int kCount, class Body>
Status launch_elementwise(std::int64_t rows, std::int64_t cols, const Body& body, const char* what,
                          cudaStream_t stream) {
  if (rows == 0 || cols == 0) return {};
  const std::int64_t strips = (cols / kCount + kStripLanes - 1) / kStripLanes;
  const std::int64_t blocks = strips * ((rows + kStripRows - 1) / kStripRows);
  TNL_CHECK(blocks < (std::int64_t{1} << 31));
  elementwise_kernel<kCount>
      <<<static_cast<unsigned>(blocks), dim3(kStripLanes, kStripRows), 0, stream>>>(
          rows, cols, static_cast<unsigned>(strips), body);
  return cuda_status(cudaGetLastError(), what);
}

// `body(std::integral_constant<int, n>())` with n = kWide where all matrices have such vectors, or
// 1.
template <int kWide, class Body>
Status with_vectors(bool wide, const Body& body) {
  if (wide) return body(std::integral_constant<int, kWide>());
  return body(std::integral_constant<int, 1>());
}

}  // namespace tnl::cuda
