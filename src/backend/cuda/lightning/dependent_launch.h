// The configuration of a launch that may start before the kernel ahead of it in the stream has
// ended ("programmatic dependent launch"): what it needs of that kernel it waits for itself.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

namespace tnl::cuda {

class DependentLaunch {
 public:
  DependentLaunch(dim3 grid, dim3 block, std::size_t shared_bytes, bool early,
                  cudaStream_t stream) {
    attribute_.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute_.val.programmaticStreamSerializationAllowed = 1;
    config_.gridDim = grid;
    config_.blockDim = block;
    config_.dynamicSmemBytes = shared_bytes;
    config_.stream = stream;
    config_.attrs = &attribute_;
    config_.numAttrs = early ? 1 : 0;
  }
  DependentLaunch(const DependentLaunch&) = delete;
  DependentLaunch& operator=(const DependentLaunch&) = delete;
  const cudaLaunchConfig_t& config() const { return config_; }

 private:
  cudaLaunchAttribute attribute_{};
  cudaLaunchConfig_t config_{};
};

}  // namespace tnl::cuda
