// Declares this target's kernels, for the files that define them and the table that lists them.
#pragma once

#include "backend/cpu/simd/kernels.h"

namespace tnl::TNL_TARGET {

using cpu::AdamWStep;
using cpu::GemvTask;
using cpu::LrpeRows;

void srmsnorm(const float* x, std::int64_t n, double eps, float* y);
void srmsnorm_backward(const float* x, const float* dy, std::int64_t n, double eps, bool accumulate,
                       float* dx);
void norm_gate(bool sigmoid_gate, const float* o, const float* u, std::int64_t n, double eps,
               float* y);
void norm_gate_backward(bool sigmoid_gate, const float* o, const float* u, const float* dy,
                        std::int64_t n, double eps, float* d_o, float* d_u);

void silu(const float* x, std::int64_t n, float* y);
void silu_backward(const float* x, const float* dy, std::int64_t n, float* dx);
void lrpe(const LrpeRows& rows);
void lrpe_backward(const LrpeRows& rows, float* dy_q, float* dy_k, float* d_theta);

void product(const float* a, const float* b, std::int64_t n, float* y);
void product_backward(const float* a, const float* b, const float* dy, std::int64_t n, float* da,
                      float* db);
double cross_entropy(float* x, std::int64_t n, std::int64_t target, const double* d_scale);
double softmax_weights(const float* x, std::int64_t n, float top, float scale, float* y);

void widen(const void* x, DType dtype, std::int64_t n, float scale, float* y);
void add_scaled(const float* x, std::int64_t n, float scale, float* y);
void adamw(const AdamWStep& step, std::int64_t n, float* parameters, const float* gradients,
           float* first_moment, float* second_moment);
double sum_of_squares(const float* x, std::int64_t n);
void gemv(const GemvTask& task);

void exp_row(const float* x, std::int64_t n, float* y);

}  // namespace tnl::TNL_TARGET
