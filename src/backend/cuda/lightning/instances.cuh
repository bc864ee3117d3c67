// The instances of the sweep kernel for one shape; a .cu file a shape, so that they compile apart.
#pragma once

#include "backend/cuda/lightning/kernels.h"
#include "backend/cuda/lightning/sweep.cuh"

namespace tnl::cuda {

template <class T, template <Split> class Config>
SweepFunction instance_for(Split split) {
  switch (split) {
    case Split::kNone:
      return sweep_kernel<T, Config<Split::kNone>>;
    case Split::kState:
      return sweep_kernel<T, Config<Split::kState>>;
    default:
      return sweep_kernel<T, Config<Split::kAll>>;
  }
}

template <template <Split> class Config>
SweepFunction instance_of(DType dtype, Split split) {
  return dtype == DType::kBF16 ? instance_for<__nv_bfloat16, Config>(split)
                               : instance_for<__half, Config>(split);
}

}  // namespace tnl::cuda
