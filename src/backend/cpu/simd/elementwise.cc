// Products, conversions, the optimiser and its norm.
#include "backend/cpu/simd/kernel_functions.h"
#include "backend/cpu/simd/sweep.h"

namespace tnl::TNL_TARGET {
namespace {

template <class T>
TNL_INLINE void widen_row(const T* x, std::int64_t n, float scale, float* y) {
  sweep(n, [&](std::int64_t i, auto lanes) { lanes.store(y + i, lanes.load(x + i) * scale); });
}

}  // namespace

void product(const float* a, const float* b, std::int64_t n, float* y) {
  sweep(n, [&](std::int64_t i, auto lanes) {
    lanes.store(y + i, lanes.load(a + i) * lanes.load(b + i));
  });
}

void product_backward(const float* a, const float* b, const float* dy, std::int64_t n, float* da,
                      float* db) {
  sweep(n, [&](std::int64_t i, auto lanes) {
    const Vec left = lanes.load(a + i), right = lanes.load(b + i), slope = lanes.load(dy + i);
    lanes.store(da + i, slope * right);
    lanes.store(db + i, slope * left);
  });
}

void widen(const void* x, DType dtype, std::int64_t n, float scale, float* y) {
  switch (dtype) {
    case DType::kBF16:
      return widen_row(static_cast<const BF16*>(x), n, scale, y);
    case DType::kF16:
      return widen_row(static_cast<const F16*>(x), n, scale, y);
    default:
      return widen_row(static_cast<const float*>(x), n, scale, y);
  }
}

void add_scaled(const float* x, std::int64_t n, float scale, float* y) {
  sweep(n, [&](std::int64_t i, auto lanes) {
    lanes.store(y + i, lanes.load(y + i) + lanes.load(x + i) * scale);
  });
}

void adamw(const AdamWStep& step, std::int64_t n, float* parameters, const float* gradients,
           float* first_moment, float* second_moment) {
  sweep(n, [&](std::int64_t i, auto lanes) {
    const Vec gradient = lanes.load(gradients + i) * step.gradient_scale;
    const Vec first = lanes.load(first_moment + i) * step.beta1 + gradient * step.one_minus_beta1;
    const Vec second =
        lanes.load(second_moment + i) * step.beta2 + gradient * gradient * step.one_minus_beta2;
    const Vec direction = first / (sqrt(second * step.inverse_second_bias) + step.epsilon);
    lanes.store(first_moment + i, first);
    lanes.store(second_moment + i, second);
    lanes.store(parameters + i,
                lanes.load(parameters + i) * step.keep - direction * step.step_size);
  });
}

double sum_of_squares(const float* x, std::int64_t n) {
  constexpr int kHalf = kLanes / 2;
  typedef float VecHalfF __attribute__((vector_size(kHalf * 4)));
  typedef double VecD __attribute__((vector_size(kHalf * 8)));
  VecD sums[4] = {};
  std::int64_t i = 0;
  for (; i + 4 * kHalf <= n; i += 4 * kHalf) {
#pragma GCC unroll 4
    for (int part = 0; part < 4; ++part) {
      VecHalfF narrow;
      __builtin_memcpy(&narrow, x + i + part * kHalf, sizeof(narrow));
      const VecD wide = __builtin_convertvector(narrow, VecD);
      sums[part] += wide * wide;
    }
  }
  const VecD folded = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  double total = 0;
  for (int lane = 0; lane < kHalf; ++lane) total += folded[lane];
  for (; i < n; ++i) total += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return total;
}

void exp_row(const float* x, std::int64_t n, float* y) {
  sweep(n, [&](std::int64_t i, auto lanes) { lanes.store(y + i, exp(lanes.load(x + i))); });
}

}  // namespace tnl::TNL_TARGET
