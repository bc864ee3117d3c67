#include "backend/cuda/lightning/chunk.cuh"
#include "backend/cuda/lightning/kernels.h"

namespace tnl::cuda {

namespace {

template <class T>
SweepFunction instance_for(Split split) {
  // Without an incoming state there is nothing to split in one.
  return split == Split::kAll ? chunk_kernel<T, Chunk128<Split::kAll>>
                              : chunk_kernel<T, Chunk128<Split::kNone>>;
}

}  // namespace

SweepFunction chunk128_function(DType dtype, Split split) {
  return dtype == DType::kBF16 ? instance_for<__nv_bfloat16>(split) : instance_for<__half>(split);
}

}  // namespace tnl::cuda
