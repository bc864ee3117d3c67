// Single elements of the storage types, read and written as fp32.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

namespace tnl::cuda {

__device__ __forceinline__ float to_float(float x) {
  return x;
}
__device__ __forceinline__ float to_float(__nv_bfloat16 x) {
  return __bfloat162float(x);
}
__device__ __forceinline__ float to_float(__half x) {
  return __half2float(x);
}

__device__ __forceinline__ void from_float(float x, float& y) {
  y = x;
}
__device__ __forceinline__ void from_float(float x, __nv_bfloat16& y) {
  y = __float2bfloat16(x);
}
__device__ __forceinline__ void from_float(float x, __half& y) {
  y = __float2half(x);
}

}  // namespace tnl::cuda
