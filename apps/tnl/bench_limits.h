// What the device itself can do, measured: the denominators of benchmarks.
#pragma once

#include "tnl/device.h"

namespace tnl::command {

struct DeviceLimits {
  double read = 0;    // bytes/s
  double copy = 0;    // bytes/s read and written; GPUs only
  double matmul = 0;  // FLOP/s of backend.matmul(), C = A Bᵀ, in the device's compute dtype

  // Of each the better one.
  DeviceLimits best(const DeviceLimits& other) const;
};

DeviceLimits measure_limits(const Device& device);  // throws Exit

}  // namespace tnl::command
