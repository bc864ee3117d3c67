// The instances of the fp32 kernel.
#include "backend/cuda/lightning/fma.cuh"

#include "backend/cuda/lightning/kernels.h"

namespace tnl::cuda {

namespace {

template <class Config>
RowFunction instance_of(DType dtype) {
  if (dtype == DType::kBF16) return fma_kernel<__nv_bfloat16, Config>;
  if (dtype == DType::kF16) return fma_kernel<__half, Config>;
  return fma_kernel<float, Config>;
}

}  // namespace

RowFunction fma64_function(DType dtype) {
  return instance_of<Fma64>(dtype);
}
RowFunction fma128_function(DType dtype) {
  return instance_of<Fma128>(dtype);
}
RowFunction fma256_function(DType dtype) {
  return instance_of<Fma256>(dtype);
}

}  // namespace tnl::cuda
