// wgmma.mma_async, M = 64, K = 16, fp32 accumulators; A from registers or shared memory, B from
// shared memory. kBTransposed: B is stored with its N axis contiguous ("MN-major").
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

namespace tnl::cuda::ptx {

__device__ __forceinline__ void wgmma_fence() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void wgmma_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
// Until at most kPending committed groups are in flight.
template <int kPending>
__device__ __forceinline__ void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

// The compiler does not see when the tensor cores write an accumulator: nothing moves across this.
template <int kCount>
__device__ __forceinline__ void wgmma_pin(float (&d)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(d[i])::"memory");
}

// The same for operands in registers: made before this, and behind a wait, kept until it. ptxas
// does not know that the tensor cores still read them and gives their registers away
// (tools/check_sass.py).
template <int kCount>
__device__ __forceinline__ void wgmma_pin(std::uint32_t (&a)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+r"(a[i])::"memory");
}

// Descriptor of a 128-byte-swizzled tile whose 8-row groups lie 1024 bytes apart. block_bytes: the
// distance of 64-column blocks, used by a transposed B wider than 64.
__device__ __forceinline__ std::uint64_t wgmma_descriptor(std::uint32_t address,
                                                          std::uint32_t block_bytes) {
  return (std::uint64_t{1} << 62) | (std::uint64_t{1024 >> 4} << 32) |
         (std::uint64_t{block_bytes >> 4} << 16) | std::uint64_t{(address & 0x3ffff) >> 4};
}

// clang-format off
#define TNL_WGMMA_ACCUMULATORS_64 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define TNL_WGMMA_OPERANDS_64(d) \
  "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), \
  "+f"(d[6]), "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), \
  "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), \
  "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), \
  "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), \
  "+f"(d[30]), "+f"(d[31])

#define TNL_WGMMA_ACCUMULATORS_128 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define TNL_WGMMA_OPERANDS_128(d) \
  "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), \
  "+f"(d[6]), "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), \
  "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), \
  "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), \
  "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), \
  "+f"(d[30]), "+f"(d[31]), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), \
  "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]), \
  "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), \
  "+f"(d[48]), "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), \
  "+f"(d[54]), "+f"(d[55]), "+f"(d[56]), "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), \
  "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63])
// clang-format on

// d (+)= a b with a 64x16 A in registers; `accumulate` = 0 starts from zero.
template <bool kBTransposed>
__device__ __forceinline__ void wgmma_rs(__nv_bfloat16, float (&d)[32], const std::uint32_t* a,
                                         std::uint64_t b, int accumulate) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" TNL_WGMMA_ACCUMULATORS_64
      "}, {%32, %33, %34, %35}, %36, p, 1, 1, %38;\n}\n"
      : TNL_WGMMA_OPERANDS_64(d)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate), "n"(kBTransposed));
}
template <bool kBTransposed>
__device__ __forceinline__ void wgmma_rs(__nv_bfloat16, float (&d)[64], const std::uint32_t* a,
                                         std::uint64_t b, int accumulate) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %69, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" TNL_WGMMA_ACCUMULATORS_128
      "}, {%64, %65, %66, %67}, %68, p, 1, 1, %70;\n}\n"
      : TNL_WGMMA_OPERANDS_128(d)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate), "n"(kBTransposed));
}
template <bool kBTransposed>
__device__ __forceinline__ void wgmma_rs(__half, float (&d)[32], const std::uint32_t* a,
                                         std::uint64_t b, int accumulate) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {" TNL_WGMMA_ACCUMULATORS_64
      "}, {%32, %33, %34, %35}, %36, p, 1, 1, %38;\n}\n"
      : TNL_WGMMA_OPERANDS_64(d)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate), "n"(kBTransposed));
}
template <bool kBTransposed>
__device__ __forceinline__ void wgmma_rs(__half, float (&d)[64], const std::uint32_t* a,
                                         std::uint64_t b, int accumulate) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %69, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 {" TNL_WGMMA_ACCUMULATORS_128
      "}, {%64, %65, %66, %67}, %68, p, 1, 1, %70;\n}\n"
      : TNL_WGMMA_OPERANDS_128(d)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate), "n"(kBTransposed));
}

// The same with A in shared memory, both operands with the K axis contiguous.
__device__ __forceinline__ void wgmma_ss(__nv_bfloat16, float (&d)[32], std::uint64_t a,
                                         std::uint64_t b, int accumulate) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" TNL_WGMMA_ACCUMULATORS_64
      "}, %32, %33, p, 1, 1, 0, 0;\n}\n"
      : TNL_WGMMA_OPERANDS_64(d)
      : "l"(a), "l"(b), "r"(accumulate));
}
__device__ __forceinline__ void wgmma_ss(__half, float (&d)[32], std::uint64_t a, std::uint64_t b,
                                         int accumulate) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {" TNL_WGMMA_ACCUMULATORS_64
      "}, %32, %33, p, 1, 1, 0, 0;\n}\n"
      : TNL_WGMMA_OPERANDS_64(d)
      : "l"(a), "l"(b), "r"(accumulate));
}

#undef TNL_WGMMA_ACCUMULATORS_64
#undef TNL_WGMMA_OPERANDS_64
#undef TNL_WGMMA_ACCUMULATORS_128
#undef TNL_WGMMA_OPERANDS_128

}  // namespace tnl::cuda::ptx
