// The two 16-bit formats: conversion of pairs of fp32 values held in one register.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

namespace tnl::cuda {

template <class T>
struct Element;

template <>
struct Element<__nv_bfloat16> {
  static __device__ __forceinline__ std::uint32_t pack(float low, float high) {
    std::uint32_t r;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
    return r;
  }
  static __device__ __forceinline__ float low(std::uint32_t x) { return __uint_as_float(x << 16); }
  static __device__ __forceinline__ float high(std::uint32_t x) {
    return __uint_as_float(x & 0xffff0000u);
  }
};

template <>
struct Element<__half> {
  static __device__ __forceinline__ std::uint32_t pack(float low, float high) {
    std::uint32_t r;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
    return r;
  }
  static __device__ __forceinline__ float low(std::uint32_t x) {
    return __half2float(__ushort_as_half(static_cast<unsigned short>(x & 0xffffu)));
  }
  static __device__ __forceinline__ float high(std::uint32_t x) {
    return __half2float(__ushort_as_half(static_cast<unsigned short>(x >> 16)));
  }
};

}  // namespace tnl::cuda
