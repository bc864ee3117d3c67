#include "backend/cuda/runtime/device_query.h"

#include <cuda_runtime_api.h>

#include <string>

#include "backend/cuda/lightning/kernels.h"
#include "core/try.h"

namespace tnl::cuda {
namespace {

constexpr int kLeastCapability = 80;  // bf16 tensor cores and asynchronous copies
// Of the memory's clock times its width a copy reaches this part (H100 and H200, measured).
constexpr double kCopyShare = 0.885;

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

std::string capability_text(int capability) {
  return std::to_string(capability / 10) + "." + std::to_string(capability % 10);
}

Status check_driver() {
  int driver = 0, runtime = 0;
  TNL_TRY(cuda_status(cudaDriverGetVersion(&driver), "asking for the driver's version"));
  TNL_TRY(cuda_status(cudaRuntimeGetVersion(&runtime), "asking for the runtime's version"));
  if (driver == 0) return unavailable("no GPU: no NVIDIA driver is installed on this machine");
  // Within a major version every driver runs every runtime.
  if (driver / 1000 < runtime / 1000) {
    return unavailable("no GPU: the NVIDIA driver serves CUDA " + version_text(driver) +
                       ", expected " + std::to_string(runtime / 1000) + ".0 or newer");
  }
  return {};
}

Result<int> attribute(int index, cudaDeviceAttr which) {
  int value = 0;
  TNL_TRY(cuda_status(cudaDeviceGetAttribute(&value, which, index), "asking what the GPU can do"));
  return value;
}

}  // namespace

Result<DeviceProperties> query_device(int index, DeviceProperties properties) {
  TNL_TRY(check_driver());
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaErrorNoDevice || (error == cudaSuccess && count == 0)) {
    return unavailable("no GPU: the NVIDIA driver sees none (is CUDA_VISIBLE_DEVICES set?)");
  }
  TNL_TRY(cuda_status(error, "no GPU: counting the GPUs"));
  if (index >= count) {
    return unavailable(
        "device: found cuda:" + std::to_string(index) + ", expected " +
        (count == 1 ? "cuda:0, the only GPU" : "cuda:0 to cuda:" + std::to_string(count - 1)));
  }
  cudaDeviceProp device{};
  TNL_TRY(cuda_status(cudaGetDeviceProperties(&device, index), "asking what the GPU can do"));
  GpuProperties& gpu = properties.gpu;
  gpu.index = index;
  gpu.model = device.name;
  gpu.capability = 10 * device.major + device.minor;
  if (gpu.capability < kLeastCapability) {
    return unavailable("no GPU: cuda:" + std::to_string(index) + " (" + gpu.model +
                       ") has compute capability " + capability_text(gpu.capability) +
                       ", expected at least " + capability_text(kLeastCapability));
  }
  gpu.multiprocessors = device.multiProcessorCount;
  gpu.shared_per_block = device.sharedMemPerBlockOptin;
  gpu.shared_per_multiprocessor = device.sharedMemPerMultiprocessor;
  gpu.memory_bytes = device.totalGlobalMem;
  TNL_ASSIGN(const int kilohertz, attribute(index, cudaDevAttrMemoryClockRate));
  // Twice a clock, 8 bits a byte.
  const double bus = 2.0 * 1e3 * kilohertz * device.memoryBusWidth / 8;
  if (bus > 0) gpu.bytes_per_second = kCopyShare * bus;
  properties.kind = DeviceKind::kCuda;
  properties.name = "cuda:" + std::to_string(index);
  return properties;
}

}  // namespace tnl::cuda
