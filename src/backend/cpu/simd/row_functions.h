// Declarations of the row kernels that rows.cc collects in one table.
#pragma once

#include "backend/cpu/simd/rows.h"

namespace tnl::TNL_TARGET {

void srmsnorm(const float* x, float eps, float* y, std::int64_t n);
void srmsnorm_backward(const float* x, const float* dy, float eps, bool accumulate, float* dx,
                       std::int64_t n);
void norm_gate(bool sigmoid, const float* o, const float* u, float eps, float* y, std::int64_t n);
void norm_gate_backward(bool sigmoid, const float* o, const float* u, const float* dy, float eps,
                        float* d_o, float* d_u, std::int64_t n);

float most(const float* x, std::int64_t n);
double sum_exp(const float* x, float most, std::int64_t n);
void softmax(float* x, float log_sum, float scale, std::int64_t n);
void dot(const float* x, std::int64_t x_stride, std::int64_t rows, const void* w, DType dtype,
         std::int64_t n, float* out);
double sum_of_squares(const float* x, std::int64_t n);
void adamw(float* parameter, const float* gradient, float* first, float* second, std::int64_t n,
           const cpu::AdamWBlock& block);

}  // namespace tnl::TNL_TARGET
