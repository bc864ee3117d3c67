// The bulk tensor copy engine: 5-D boxes between global and shared memory through tensor maps.
#pragma once

#include <cuda.h>

#include <cstdint>

namespace tnl::cuda::ptx {

// Box origin.
struct TileOrigin {
  int column, token, tile, head, batch;
};

// By a whole warp, of which one lane issues. Completes on `barrier` of this block. What lies
// outside the tensor arrives as zeros.
__device__ __forceinline__ void tma_load_elected(std::uint32_t destination, const CUtensorMap* map,
                                                 std::uint32_t barrier, TileOrigin at) {
  asm volatile(
      "{\n.reg .pred p;\nelect.sync _|p, 0xffffffff;\n"
      "@p cp.async.bulk.tensor.5d.shared::cluster.global.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%3, %4, %5, %6, %7}], [%2];\n}\n" ::"r"(destination),
      "l"(map), "r"(barrier), "r"(at.column), "r"(at.token), "r"(at.tile), "r"(at.head),
      "r"(at.batch)
      : "memory");
}

// What lies outside the tensor is not written.
__device__ __forceinline__ void tma_store(const CUtensorMap* map, std::uint32_t source,
                                          TileOrigin at) {
  asm volatile(
      "cp.async.bulk.tensor.5d.global.shared::cta.bulk_group [%0, {%2, %3, %4, %5, %6}], [%1];" ::
          "l"(map),
      "r"(source), "r"(at.column), "r"(at.token), "r"(at.tile), "r"(at.head), "r"(at.batch)
      : "memory");
}

__device__ __forceinline__ void bulk_commit() {
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}

// Until the stores committed so far have read their shared memory.
__device__ __forceinline__ void bulk_wait_read() {
  asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
}

}  // namespace tnl::cuda::ptx
