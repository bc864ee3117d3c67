// Small kernels around the sweep: tables to the device, the scan over segment states.
#include <algorithm>
#include <cstring>

#include "backend/cuda/lightning/dependent_launch.h"
#include "backend/cuda/lightning/kernels.h"
#include "backend/cuda/ptx/sync.cuh"
#include "core/try.h"

namespace tnl::cuda {

namespace {

// What fits a kernel's arguments: everywhere, and with CUDA 12.1 or later.
constexpr std::size_t kSmallPayload = 3840, kLargePayload = 32256;

template <std::size_t kBytes>
struct Payload {
  alignas(16) std::uint32_t words[kBytes / 4];
};

template <std::size_t kBytes>
__global__ void upload_kernel(const __grid_constant__ Payload<kBytes> payload,
                              std::uint32_t* destination, int words) {
  ptx::launch_next_grid();
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < words; i += gridDim.x * blockDim.x) {
    destination[i] = payload.words[i];
  }
}

template <std::size_t kBytes>
Status upload_part(void* destination, const void* source, std::size_t bytes, cudaStream_t stream) {
  constexpr int kThreads = 256;
  Payload<kBytes> payload;
  std::memcpy(payload.words, source, bytes);
  const int words = static_cast<int>(bytes / 4), blocks = (words + kThreads - 1) / kThreads;
  upload_kernel<kBytes>
      <<<blocks, kThreads, 0, stream>>>(payload, static_cast<std::uint32_t*>(destination), words);
  return cuda_status(cudaGetLastError(), "uploading a table");
}

// One thread owns four elements of the states of one chain and walks along it. The loads of a group
// do not depend on the sum, so they are in flight together.
__global__ void scan_kernel(const ScanItem* scans, float4* slots, std::int64_t vectors_per_slot) {
  constexpr int kGroup = 8;
  ptx::launch_next_grid();
  ptx::wait_for_previous_grid();
  const ScanItem scan = scans[blockIdx.y];
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
  for (std::size_t done = 0; done < bytes; done += kLargePayload) {
    const std::size_t part = std::min(kLargePayload, bytes - done);
    void* to = static_cast<char*>(destination) + done;
    const void* from = static_cast<const char*>(source) + done;
    TNL_TRY(part <= kSmallPayload ? upload_part<kSmallPayload>(to, from, part, stream)
                                  : upload_part<kLargePayload>(to, from, part, stream));
  }
  return {};
}

Status run_scan(const ScanItem* scans, int count, float4* slots, std::int64_t vectors_per_slot,
                bool early, cudaStream_t stream) {
  constexpr int kThreads = 128;
  const dim3 grid(static_cast<unsigned>((vectors_per_slot + kThreads - 1) / kThreads),
                  static_cast<unsigned>(count));
  const DependentLaunch launch(grid, dim3(kThreads), 0, early, stream);
  return cuda_status(
      cudaLaunchKernelEx(&launch.config(), scan_kernel, scans, slots, vectors_per_slot),
      "launching the scan over segment states");
}

}  // namespace tnl::cuda
