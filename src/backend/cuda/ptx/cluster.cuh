// Clusters: blocks that run side by side, reach one another's shared memory and share what the
// copy engine brings.
#pragma once

#include "backend/cuda/ptx/tma.cuh"

namespace tnl::cuda::ptx {

// All threads of all blocks of the cluster.
__device__ __forceinline__ void cluster_sync() {
  asm volatile("barrier.cluster.arrive.release;\nbarrier.cluster.wait.acquire;" ::: "memory");
}

// Arrives at the barrier that lies at the same place in block `rank` of the cluster.
__device__ __forceinline__ void mbarrier_arrive_at(std::uint32_t barrier, std::uint32_t rank) {
  asm volatile(
      "{\n.reg .b32 remote;\nmapa.shared::cluster.u32 remote, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [remote];\n}\n" ::"r"(barrier),
      "r"(rank)
      : "memory");
}

// As tma_load_elected, to the same place in each block of `mask`, completing on its own barrier.
__device__ __forceinline__ void tma_multicast_elected(std::uint32_t destination,
                                                      const CUtensorMap* map, std::uint32_t barrier,
                                                      TileOrigin at, std::uint16_t mask) {
  asm volatile(
      "{\n.reg .pred p;\nelect.sync _|p, 0xffffffff;\n"
      "@p cp.async.bulk.tensor.5d.shared::cluster.global.mbarrier::complete_tx::bytes"
      ".multicast::cluster [%0], [%1, {%3, %4, %5, %6, %7}], [%2], %8;\n}\n" ::"r"(destination),
      "l"(map), "r"(barrier), "r"(at.column), "r"(at.token), "r"(at.tile), "r"(at.head),
      "r"(at.batch), "h"(mask)
      : "memory");
}

}  // namespace tnl::cuda::ptx
