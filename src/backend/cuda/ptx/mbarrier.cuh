// mbarrier objects in shared memory: arrive, expect bytes of an asynchronous copy, wait for a
// phase. Barriers are named by their shared-memory address.
#pragma once

#include <cstdint>

namespace tnl::cuda::ptx {

__device__ __forceinline__ std::uint32_t shared_address(const void* p) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(p));
}

__device__ __forceinline__ void mbarrier_init(std::uint32_t barrier, std::uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}

// Makes initialised barriers visible to the copy engine.
__device__ __forceinline__ void mbarrier_init_fence() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

__device__ __forceinline__ void mbarrier_arrive(std::uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

// By a whole warp: one lane arrives.
__device__ __forceinline__ void mbarrier_arrive_expect_elected(std::uint32_t barrier,
                                                               std::uint32_t bytes) {
  asm volatile(
      "{\n.reg .pred p;\nelect.sync _|p, 0xffffffff;\n"
      "@p mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;\n}\n" ::"r"(barrier),
      "r"(bytes)
      : "memory");
}

__device__ __forceinline__ bool mbarrier_try_wait(std::uint32_t barrier, std::uint32_t parity) {
  std::uint32_t done;
  asm volatile(
      "{\n.reg .pred p;\nmbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
      "selp.u32 %0, 1, 0, p;\n}\n"
      : "=r"(done)
      : "r"(barrier), "r"(parity)
      : "memory");
  return done != 0;
}

// TNL_CUDA_BOUNDED_WAIT (debugging): trap instead of hanging for ever.
__device__ __forceinline__ void mbarrier_wait(std::uint32_t barrier, std::uint32_t parity) {
#ifdef TNL_CUDA_BOUNDED_WAIT
  for (int i = 0; i < 4000000; ++i) {
    if (mbarrier_try_wait(barrier, parity)) return;
  }
  asm volatile("trap;");
#else
  while (!mbarrier_try_wait(barrier, parity)) {
  }
#endif
}

}  // namespace tnl::cuda::ptx
