// The instances of a kernel for one shape; a .cu file a shape, so that they compile apart.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <type_traits>

#include "backend/cuda/lightning/kernels.h"
#include "backend/cuda/lightning/sweep_config.h"

namespace tnl::cuda {

template <class T>
using Id = std::type_identity<T>;

// kernel(Id<T>, Id<Config<split>>) for the storage type T of `dtype`, bf16 or f16.
template <template <Split> class Config, class Kernel>
auto instance_of(DType dtype, Split split, Kernel kernel) {
  const auto of_type = [&](auto type) {
    switch (split) {
      case Split::kNone:
        return kernel(type, Id<Config<Split::kNone>>{});
      case Split::kState:
        return kernel(type, Id<Config<Split::kState>>{});
      default:
        return kernel(type, Id<Config<Split::kAll>>{});
    }
  };
  return dtype == DType::kBF16 ? of_type(Id<__nv_bfloat16>{}) : of_type(Id<__half>{});
}

}  // namespace tnl::cuda
