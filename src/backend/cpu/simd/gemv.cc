// A few rows times a matrix of weights: bound by the memory that holds the weights, so each is read
// once, in its storage type.
#include "backend/cpu/simd/kernel_functions.h"
#include "backend/cpu/simd/sweep.h"

namespace tnl::TNL_TARGET {
namespace {

// kRows rows of A with kCols rows of B.
template <class T, int kRows, int kCols>
TNL_INLINE void tile(const GemvTask& task, const T* b, std::int64_t row, std::int64_t column) {
  const float* a = task.a + row * task.a_stride;
  const T* weights = b + column * task.b_stride;
  Vec sums[kRows][kCols] = {};
  sweep(task.depth, [&](std::int64_t k, auto lanes) {
    Vec left[kRows];
#pragma GCC unroll 4
    for (int m = 0; m < kRows; ++m) left[m] = lanes.load(a + m * task.a_stride + k);
#pragma GCC unroll 8
    for (int n = 0; n < kCols; ++n) {
      const Vec right = lanes.load(weights + n * task.b_stride + k);
#pragma GCC unroll 4
      for (int m = 0; m < kRows; ++m) sums[m][n] += left[m] * right;
    }
  });
#pragma GCC unroll 4
  for (int m = 0; m < kRows; ++m) {
    float* out = task.c + (row + m) * task.c_stride + column;
#pragma GCC unroll 8
    for (int n = 0; n < kCols; ++n) {
      const float value = task.alpha * reduce_add(sums[m][n]);
      out[n] = task.beta == 0 ? value : value + task.beta * out[n];
    }
  }
}

template <class T, int kCols>
TNL_INLINE void columns(const GemvTask& task, const T* b, std::int64_t column) {
  std::int64_t row = 0;
  for (; row + 4 <= task.a_rows; row += 4) tile<T, 4, kCols>(task, b, row, column);
  for (; row + 2 <= task.a_rows; row += 2) tile<T, 2, kCols>(task, b, row, column);
  for (; row < task.a_rows; ++row) tile<T, 1, kCols>(task, b, row, column);
}

// One row of A: B is read from its first byte to its last, the order memory is fastest in.
template <class T>
TNL_INLINE void one_row(const GemvTask& task, const T* b) {
  for (std::int64_t column = 0; column < task.b_rows; ++column) {
    const T* weights = b + column * task.b_stride;
    const float total = sum(task.depth, [&](std::int64_t k, auto lanes) {
      return lanes.load(task.a + k) * lanes.load(weights + k);
    });
    const float value = task.alpha * total;
    task.c[column] = task.beta == 0 ? value : value + task.beta * task.c[column];
  }
}

template <class T>
TNL_INLINE void product_rows(const GemvTask& task) {
  const T* b = static_cast<const T*>(task.b);
  if (task.a_rows == 1) return one_row(task, b);
  std::int64_t column = 0;
  for (; column + 4 <= task.b_rows; column += 4) columns<T, 4>(task, b, column);
  for (; column < task.b_rows; ++column) columns<T, 1>(task, b, column);
}

}  // namespace

void gemv(const GemvTask& task) {
  switch (task.b_dtype) {
    case DType::kBF16:
      return product_rows<BF16>(task);
    case DType::kF16:
      return product_rows<F16>(task);
    default:
      return product_rows<float>(task);
  }
}

}  // namespace tnl::TNL_TARGET
