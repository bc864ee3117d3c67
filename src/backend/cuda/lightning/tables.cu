// Small kernels around the sweep: tables to the device, the scan over segment states.
#include <algorithm>
#include <cstring>

#include "backend/cuda/lightning/kernels.h"
#include "backend/cuda/ptx/sync.cuh"
#include "core/try.h"

namespace tnl::cuda {

namespace {

constexpr std::size_t kPayloadBytes = 3840;  // what fits a kernel's arguments everywhere

struct Payload {
  alignas(16) std::uint32_t words[kPayloadBytes / 4];
};

struct InlineScans {
  ScanItem items[kInlineScans];
};

__global__ void upload_kernel(const __grid_constant__ Payload payload, std::uint32_t* destination,
                              int words) {
  for (int i = threadIdx.x; i < words; i += blockDim.x) destination[i] = payload.words[i];
}

// One thread owns four elements of the states of one chain and walks along it. The loads of a group
// do not depend on the sum, so they are in flight together.
__global__ void scan_kernel(const __grid_constant__ InlineScans inline_scans, const ScanItem* scans,
                            float4* slots, std::int64_t vectors_per_slot) {
  constexpr int kGroup = 8;
  ptx::wait_for_previous_grid();
  const ScanItem scan = scans != nullptr ? scans[blockIdx.y] : inline_scans.items[blockIdx.y];
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= vectors_per_slot) return;
  float4* at = slots + scan.first_slot * vectors_per_slot + i;
  const float a = scan.factor;
  float4 sum = make_float4(0.f, 0.f, 0.f, 0.f);
  for (int first = 0; first < scan.count; first += kGroup) {
    float4 x[kGroup];
#pragma unroll
    for (int j = 0; j < kGroup; ++j) {
      if (first + j < scan.count) x[j] = at[(first + j) * vectors_per_slot];
    }
#pragma unroll
    for (int j = 0; j < kGroup; ++j) {
      if (first + j >= scan.count) break;
      sum = make_float4(fmaf(a, sum.x, x[j].x), fmaf(a, sum.y, x[j].y), fmaf(a, sum.z, x[j].z),
                        fmaf(a, sum.w, x[j].w));
      at[(first + j) * vectors_per_slot] = sum;
    }
  }
}

}  // namespace

Status cuda_status(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return {};
  const std::string words = std::string(what) + ": " + cudaGetErrorString(error);
  return error == cudaErrorNoDevice || error == cudaErrorInsufficientDriver ||
                 error == cudaErrorNoKernelImageForDevice
             ? unavailable(words)
             : internal_error(words);
}

Status upload(void* destination, const void* source, std::size_t bytes, cudaStream_t stream) {
  for (std::size_t done = 0; done < bytes; done += kPayloadBytes) {
    const std::size_t part = std::min(kPayloadBytes, bytes - done);
    Payload payload;
    std::memcpy(payload.words, static_cast<const char*>(source) + done, part);
    upload_kernel<<<1, 256, 0, stream>>>(
        payload, reinterpret_cast<std::uint32_t*>(static_cast<char*>(destination) + done),
        static_cast<int>(part / 4));
    TNL_TRY(cuda_status(cudaGetLastError(), "uploading a table"));
  }
  return {};
}

Status run_scan(std::span<const ScanItem> scans, const ScanItem* on_device, float4* slots,
                std::int64_t vectors_per_slot, bool early, cudaStream_t stream) {
  constexpr int kThreads = 128;
  InlineScans inline_scans{};
  if (on_device == nullptr) std::copy(scans.begin(), scans.end(), inline_scans.items);
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>((vectors_per_slot + kThreads - 1) / kThreads),
                        static_cast<unsigned>(scans.size()));
  config.blockDim = dim3(kThreads);
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = early ? 1 : 0;
  return cuda_status(
      cudaLaunchKernelEx(&config, scan_kernel, inline_scans, on_device, slots, vectors_per_slot),
      "launching the scan over segment states");
}

}  // namespace tnl::cuda
