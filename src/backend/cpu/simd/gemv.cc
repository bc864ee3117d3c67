// A few rows times a matrix of weights: bound by the memory that holds the weights, so each is read
// once, in its storage type.
#include "backend/cpu/simd/kernel_functions.h"
#include "backend/cpu/simd/sweep.h"

namespace tnl::TNL_TARGET {
namespace {

template <int kCount>
struct Count {
  static constexpr int value = kCount;
};

// kRows rows of A with one row of B. Every sum is that of sum() in sweep.h, term by term, so that
// the bits of a row do not depend on how many there are.
template <class T, int kRows>
TNL_INLINE void tile(const GemvTask& task, const T* weights, std::int64_t row,
                     std::int64_t column) {
  constexpr int kSums = 4;
  const float* a = task.a + row * task.a_stride;
  Vec sums[kRows][kSums] = {};
  const auto add = [&](int which, std::int64_t k, auto lanes) {
    const Vec right = lanes.load(weights + k);
#pragma GCC unroll 4
    for (int m = 0; m < kRows; ++m) {
      sums[m][which] += lanes.load(a + m * task.a_stride + k) * right;
    }
  };
  std::int64_t k = 0;
  for (; k + kSums * kLanes <= task.depth; k += kSums * kLanes) {
    add(0, k, WholeLanes{});
    add(1, k + kLanes, WholeLanes{});
    add(2, k + 2 * kLanes, WholeLanes{});
    add(3, k + 3 * kLanes, WholeLanes{});
  }
  for (; k + kLanes <= task.depth; k += kLanes) add(0, k, WholeLanes{});
  if (k < task.depth) add(1, k, PartLanes{task.depth - k});
#pragma GCC unroll 4
  for (int m = 0; m < kRows; ++m) {
    const Vec* s = sums[m];
    const float value = task.alpha * reduce_add((s[0] + s[1]) + (s[2] + s[3]));
    float& out = task.c[(row + m) * task.c_stride + column];
    out = task.beta == 0 ? value : value + task.beta * out;
  }
}

// B is read from its first byte to its last, the order memory is fastest in; where A has many rows,
// a few rows of B at a time, so that both stay in the first-level cache meanwhile.
template <class T>
TNL_INLINE void product_rows(const GemvTask& task) {
  constexpr std::int64_t kBlock = 8;
  const T* b = static_cast<const T*>(task.b);
  const auto rows = [&](std::int64_t row, auto count, std::int64_t first, std::int64_t end) {
    for (std::int64_t column = first; column < end; ++column) {
      tile<T, decltype(count)::value>(task, b + column * task.b_stride, row, column);
    }
  };
  for (std::int64_t first = 0; first < task.b_rows; first += kBlock) {
    const std::int64_t end = first + kBlock < task.b_rows ? first + kBlock : task.b_rows;
    std::int64_t row = 0;
    if constexpr (kLanes == 16) {  // 32 registers
      for (; row + 4 <= task.a_rows; row += 4) rows(row, Count<4>(), first, end);
    }
    for (; row + 2 <= task.a_rows; row += 2) rows(row, Count<2>(), first, end);
    for (; row < task.a_rows; ++row) rows(row, Count<1>(), first, end);
  }
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
