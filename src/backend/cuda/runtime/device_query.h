// What GPUs there are and what they can do, or the sentence that says why there is none.
#pragma once

#include "tnl/device.h"
#include "tnl/status.h"

namespace tnl::cuda {

// Fills in kind, name and gpu.
Result<DeviceProperties> query_device(int index, DeviceProperties properties);

}  // namespace tnl::cuda
