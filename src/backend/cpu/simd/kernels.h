// The row kernels of every CPU target. Plain data: this header is read by code of all targets.
// Activations and gradients are f32; no pointer needs alignment. Rows of width 0 are legal.
#pragma once

#include <cstdint>

#include "tnl/tensor.h"

namespace tnl::cpu {

// AdamW's constants of one step, worked out in fp64.
struct AdamWStep {
  float gradient_scale;
  float beta1, one_minus_beta1;
  float beta2, one_minus_beta2;
  float step_size;            // learning_rate / (1 - beta1^step)
  float inverse_second_bias;  // 1 / (1 - beta2^step)
  float epsilon;
  float keep;  // 1 - learning_rate * weight_decay
};

// One token's rows of a projection's q and k blocks and of what they become with LRPE.
struct LrpeRows {
  const float* y_q;
  const float* y_k;
  float* q;  // [heads * 2 * head_dim]; in the backward pass the gradients, read only
  float* k;
  const float* theta;  // [heads * head_dim]
  std::int64_t heads;
  std::int64_t head_dim;
  double position;
  bool silu;
};

// C = alpha * A Bᵀ + beta * C for a few rows of A: reads B once. beta = 0 never reads C.
struct GemvTask {
  const float* a;
  std::int64_t a_stride, a_rows;
  const void* b;
  DType b_dtype;
  std::int64_t b_stride, b_rows;
  std::int64_t depth;
  float alpha, beta;
  float* c;
  std::int64_t c_stride;
};

struct Kernels {
  // r = 1 / sqrt(mean(x²) + eps) throughout.
  void (*srmsnorm)(const float* x, std::int64_t n, double eps, float* y);
  void (*srmsnorm_backward)(const float* x, const float* dy, std::int64_t n, double eps,
                            bool accumulate, float* dx);
  void (*norm_gate)(bool sigmoid, const float* o, const float* u, std::int64_t n, double eps,
                    float* y);
  void (*norm_gate_backward)(bool sigmoid, const float* o, const float* u, const float* dy,
                             std::int64_t n, double eps, float* d_o, float* d_u);

  void (*silu)(const float* x, std::int64_t n, float* y);
  void (*silu_backward)(const float* x, const float* dy, std::int64_t n, float* dx);
  void (*lrpe)(const LrpeRows& rows);
  // d_theta [heads * head_dim] is added to.
  void (*lrpe_backward)(const LrpeRows& rows, float* dy_q, float* dy_k, float* d_theta);

  void (*product)(const float* a, const float* b, std::int64_t n, float* y);
  void (*product_backward)(const float* a, const float* b, const float* dy, std::int64_t n,
                           float* da, float* db);
  // Returns logsumexp(x) - x[target]; where d_scale is given x becomes *d_scale * (softmax -
  // onehot).
  double (*cross_entropy)(float* x, std::int64_t n, std::int64_t target, const double* d_scale);
  // y = e^((x - top) scale), 0 from e^-87 down; returns the sum. top is the largest x, scale > 0.
  double (*softmax_weights)(const float* x, std::int64_t n, float top, float scale, float* y);

  // y = scale * x, widened from f32, bf16 or f16.
  void (*widen)(const void* x, DType dtype, std::int64_t n, float scale, float* y);
  // y += scale * x
  void (*add_scaled)(const float* x, std::int64_t n, float scale, float* y);
  void (*adamw)(const AdamWStep& step, std::int64_t n, float* parameters, const float* gradients,
                float* first_moment, float* second_moment);
  double (*sum_of_squares)(const float* x, std::int64_t n);
  void (*gemv)(const GemvTask& task);

  // For tests: the vector exponential, element by element.
  void (*exp)(const float* x, std::int64_t n, float* y);
};

}  // namespace tnl::cpu

namespace tnl::generic {
extern const cpu::Kernels kKernels;
}
namespace tnl::avx2 {
extern const cpu::Kernels kKernels;
}
namespace tnl::avx512 {
extern const cpu::Kernels kKernels;
}
