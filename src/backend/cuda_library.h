// The door between the main library and libtnl-cuda, which is loaded at run time: one build serves
// machines with and without CUDA.
#pragma once

#include <memory>

#include "tnl/device.h"
#include "tnl/status.h"

namespace tnl {

class Backend;

// Both sides compile this in; the library exports it as the variable
// tnl_cuda_interface. Raise the number behind
// the slash with every change of what crosses the door: Backend, AttentionProblem, cuda::Plan.
inline constexpr const char* kCudaInterface = TNL_VERSION "/7";

// What the library exports as the variable tnl_cuda_open. `properties`: threads are set, the rest
// is filled in.
using CudaOpen = Result<std::unique_ptr<Backend>> (*)(int index, DeviceProperties properties);

// Finds the library (the file that TNL_CUDA_LIBRARY names, or beside the main library), loads it
// and opens GPU `index`. The sentence of an error says what is missing: the library, the driver, a
// driver that is new enough, or the device.
Result<std::unique_ptr<Backend>> open_cuda_backend(int index, const DeviceProperties& properties);

}  // namespace tnl
