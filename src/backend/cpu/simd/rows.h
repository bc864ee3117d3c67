// Row operations of every CPU target: one call, one row of n floats. Plain data: this header is
// read by code of all targets. Outputs may be the inputs unless said otherwise.
#pragma once

#include <cstdint>

#include "tnl/tensor.h"

namespace tnl::cpu {

// correction = 1 / (1 - beta^step)
struct AdamWBlock {
  float learning_rate, beta1, beta2, epsilon, weight_decay, gradient_scale;
  float correction1, correction2;
};

struct RowKernels {
  // y = x * rsqrt(mean(x²) + eps)
  void (*srmsnorm)(const float* x, float eps, float* y, std::int64_t n);
  // dx (+)= r (dy - x̂ mean(x̂ dy))
  void (*srmsnorm_backward)(const float* x, const float* dy, float eps, bool accumulate, float* dx,
                            std::int64_t n);
  // y = gate(u) * x̂ of o; gate is the identity, or the sigmoid
  void (*norm_gate)(bool sigmoid, const float* o, const float* u, float eps, float* y,
                    std::int64_t n);
  // d_o may not be o.
  void (*norm_gate_backward)(bool sigmoid, const float* o, const float* u, const float* dy,
                             float eps, float* d_o, float* d_u, std::int64_t n);
  void (*product)(const float* a, const float* b, float* y, std::int64_t n);
  void (*product_backward)(const float* a, const float* b, const float* dy, float* da, float* db,
                           std::int64_t n);
  void (*silu)(const float* x, float* y, std::int64_t n);
  void (*silu_backward)(const float* x, const float* dy, float* dx, std::int64_t n);
  // y_cos = x cos, y_sin = x sin
  void (*rotate)(const float* x, const float* cosine, const float* sine, float* y_cos, float* y_sin,
                 std::int64_t n);
  // dx = d_cos cos + d_sin sin; d_phase += x (d_sin cos - d_cos sin)
  void (*rotate_backward)(const float* x, const float* cosine, const float* sine,
                          const float* d_cos, const float* d_sin, float* dx, float* d_phase,
                          std::int64_t n);
  // y += scale * x
  void (*add_scaled)(const float* x, float scale, float* y, std::int64_t n);
  // y = scale * x, x of `dtype` f32, bf16 or f16
  void (*widen)(const void* x, DType dtype, float scale, float* y, std::int64_t n);
  // Largest element, and the sum of e^(x - most).
  float (*most)(const float* x, std::int64_t n);
  double (*sum_exp)(const float* x, float most, std::int64_t n);
  // x = scale * e^(x - log_sum)
  void (*softmax)(float* x, float log_sum, float scale, std::int64_t n);
  // Dot products of `rows` rows of x (row_stride apart) with one row of w, of `dtype`; rows <= 4.
  void (*dot)(const float* x, std::int64_t x_stride, std::int64_t rows, const void* w, DType dtype,
              std::int64_t n, float* out);
  void (*adamw)(float* parameter, const float* gradient, float* first, float* second,
                std::int64_t n, const AdamWBlock& block);
  // In fp64, in an order that depends on n alone.
  double (*sum_of_squares)(const float* x, std::int64_t n);
};

}  // namespace tnl::cpu

namespace tnl::generic {
extern const cpu::RowKernels kRowKernels;
}
namespace tnl::avx2 {
extern const cpu::RowKernels kRowKernels;
}
namespace tnl::avx512 {
extern const cpu::RowKernels kRowKernels;
}
