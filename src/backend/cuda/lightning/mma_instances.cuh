// The instances of the sm_80 kernel for one shape; a .cu file a shape, so that they compile apart.
#pragma once

#include "backend/cuda/lightning/kernels.h"
#include "backend/cuda/lightning/mma.cuh"

namespace tnl::cuda {

template <class T, template <Split> class Config>
RowFunction mma_instance_for(Split split) {
  switch (split) {
    case Split::kNone:
      return mma_kernel<T, Config<Split::kNone>>;
    case Split::kState:
      return mma_kernel<T, Config<Split::kState>>;
    default:
      return mma_kernel<T, Config<Split::kAll>>;
  }
}

template <template <Split> class Config>
RowFunction mma_instance_of(DType dtype, Split split) {
  return dtype == DType::kBF16 ? mma_instance_for<__nv_bfloat16, Config>(split)
                               : mma_instance_for<__half, Config>(split);
}

}  // namespace tnl::cuda
