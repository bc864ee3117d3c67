// SimpleRMSNorm, alone and as the norm under the token mixer's gate.
#include "backend/cpu/simd/kernel_functions.h"
#include "backend/cpu/simd/sweep.h"

namespace tnl::TNL_TARGET {
namespace {

TNL_INLINE float inverse_rms(float sum_of_squares, std::int64_t n, double eps) {
  return static_cast<float>(
      1.0 / __builtin_sqrt(static_cast<double>(sum_of_squares) / static_cast<double>(n) + eps));
}

TNL_INLINE float square_sum(const float* x, std::int64_t n) {
  return sum(n, [&](std::int64_t i, auto lanes) {
    const Vec v = lanes.load(x + i);
    return v * v;
  });
}

template <bool kSigmoid>
TNL_INLINE void norm_gate_row(const float* o, const float* u, std::int64_t n, double eps,
                              float* y) {
  const float r = inverse_rms(square_sum(o, n), n, eps);
  sweep(n, [&](std::int64_t i, auto lanes) {
    const Vec gate = lanes.load(u + i);
    lanes.store(y + i, (kSigmoid ? sigmoid(gate) : gate) * (lanes.load(o + i) * r));
  });
}

template <bool kSigmoid>
TNL_INLINE void norm_gate_backward_row(const float* o, const float* u, const float* dy,
                                       std::int64_t n, double eps, float* d_o, float* d_u) {
  const float r = inverse_rms(square_sum(o, n), n, eps);
  const float dot = sum(n, [&](std::int64_t i, auto lanes) {
    const Vec gate = lanes.load(u + i);
    return lanes.load(o + i) * (lanes.load(dy + i) * (kSigmoid ? sigmoid(gate) : gate));
  });
  const float mean = r * dot / static_cast<float>(n);
  sweep(n, [&](std::int64_t i, auto lanes) {
    const Vec normed = lanes.load(o + i) * r;
    const Vec slope = lanes.load(dy + i);
    const Vec input = lanes.load(u + i);
    const SigmoidPair pair = kSigmoid ? sigmoid_pair(input) : SigmoidPair{input, Vec{}};
    const Vec d_gate = slope * normed;
    lanes.store(d_u + i, kSigmoid ? d_gate * (pair.value * pair.complement) : d_gate);
    lanes.store(d_o + i, (slope * pair.value - normed * mean) * r);
  });
}

}  // namespace

void srmsnorm(const float* x, std::int64_t n, double eps, float* y) {
  const float r = inverse_rms(square_sum(x, n), n, eps);
  sweep(n, [&](std::int64_t i, auto lanes) { lanes.store(y + i, lanes.load(x + i) * r); });
}

void srmsnorm_backward(const float* x, const float* dy, std::int64_t n, double eps, bool accumulate,
                       float* dx) {
  const float r = inverse_rms(square_sum(x, n), n, eps);
  const float dot =
      sum(n, [&](std::int64_t i, auto lanes) { return lanes.load(x + i) * lanes.load(dy + i); });
  const float mean = r * dot / static_cast<float>(n);
  const auto gradient = [&](std::int64_t i, auto lanes) {
    return (lanes.load(dy + i) - lanes.load(x + i) * r * mean) * r;
  };
  if (accumulate) {
    sweep(n, [&](std::int64_t i, auto lanes) {
      lanes.store(dx + i, lanes.load(dx + i) + gradient(i, lanes));
    });
  } else {
    sweep(n, [&](std::int64_t i, auto lanes) { lanes.store(dx + i, gradient(i, lanes)); });
  }
}

void norm_gate(bool sigmoid_gate, const float* o, const float* u, std::int64_t n, double eps,
               float* y) {
  if (sigmoid_gate) {
    norm_gate_row<true>(o, u, n, eps, y);
  } else {
    norm_gate_row<false>(o, u, n, eps, y);
  }
}

void norm_gate_backward(bool sigmoid_gate, const float* o, const float* u, const float* dy,
                        std::int64_t n, double eps, float* d_o, float* d_u) {
  if (sigmoid_gate) {
    norm_gate_backward_row<true>(o, u, dy, n, eps, d_o, d_u);
  } else {
    norm_gate_backward_row<false>(o, u, dy, n, eps, d_o, d_u);
  }
}

}  // namespace tnl::TNL_TARGET
