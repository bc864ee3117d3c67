#include "backend/cpu/simd/kernel_functions.h"

namespace tnl::TNL_TARGET {

extern const cpu::Kernels kKernels;
const cpu::Kernels kKernels = {
    .srmsnorm = srmsnorm,
    .srmsnorm_backward = srmsnorm_backward,
    .norm_gate = norm_gate,
    .norm_gate_backward = norm_gate_backward,
    .silu = silu,
    .silu_backward = silu_backward,
    .lrpe = lrpe,
    .lrpe_backward = lrpe_backward,
    .product = product,
    .product_backward = product_backward,
    .cross_entropy = cross_entropy,
    .softmax_weights = softmax_weights,
    .widen = widen,
    .add_scaled = add_scaled,
    .adamw = adamw,
    .sum_of_squares = sum_of_squares,
    .gemv = gemv,
    .exp = exp_row,
};

}  // namespace tnl::TNL_TARGET
