// A ring of stages in shared memory between the thread that loads and the warps that compute.
#pragma once

#include "backend/cuda/ptx/mbarrier.cuh"

namespace tnl::cuda {

// Where a walker over the ring stands: the stage, and the parity of its current round.
template <int kStages>
struct RingPosition {
  int stage = 0;
  std::uint32_t parity = 0;

  __device__ __forceinline__ void advance() {
    if (++stage == kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
  __device__ __forceinline__ RingPosition next() const {
    RingPosition p = *this;
    p.advance();
    return p;
  }
};

// A `full` and an `empty` barrier a stage: producers arrive at one, consumers at the other.
template <int kStages>
struct RingBarriers {
  alignas(8) std::uint64_t full[kStages];
  alignas(8) std::uint64_t empty[kStages];

  __device__ __forceinline__ std::uint32_t full_at(int stage) const {
    return ptx::shared_address(&full[stage]);
  }
  __device__ __forceinline__ std::uint32_t empty_at(int stage) const {
    return ptx::shared_address(&empty[stage]);
  }
  // By one thread.
  __device__ __forceinline__ void init(int producers, int consumers) {
    for (int i = 0; i < kStages; ++i) {
      ptx::mbarrier_init(full_at(i), producers);
      ptx::mbarrier_init(empty_at(i), consumers);
    }
    ptx::mbarrier_init_fence();
  }
};

}  // namespace tnl::cuda
