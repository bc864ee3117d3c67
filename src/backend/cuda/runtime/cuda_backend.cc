#include "backend/cuda/runtime/cuda_backend.h"

#include <algorithm>
#include <array>
#include <utility>

#include "backend/cuda/attention_plan.h"
#include "backend/cuda/lightning/kernels.h"
#include "backend/cuda/runtime/device_query.h"
#include "backend/cuda_library.h"
#include "core/check.h"
#include "core/try.h"

namespace tnl {

using cuda::cuda_status;

namespace {

std::string mebibytes(std::size_t bytes) {
  return std::to_string(bytes >> 20) + " MiB";
}

}  // namespace

CudaBackend::CudaBackend(DeviceProperties properties, cudaStream_t stream)
    : properties_(std::move(properties)), pool_(properties_.threads), stream_(stream) {}

CudaBackend::~CudaBackend() {
  if (!enter().ok()) return;
  cudaStreamSynchronize(stream_);
  matmul_.reset();
  cudaFree(matmul_workspace_);
  cudaFree(scratch_);
  cudaFree(flush_);
  cudaStreamDestroy(stream_);
}

Result<std::unique_ptr<Backend>> CudaBackend::open(DeviceProperties properties) {
  TNL_TRY(cuda_status(cudaSetDevice(properties.gpu.index), "opening the GPU"));
  cudaStream_t stream = nullptr;
  TNL_TRY(
      cuda_status(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "creating a stream"));
  std::unique_ptr<Backend> backend(new CudaBackend(std::move(properties), stream));
  TNL_TRY(cuda::prepare_kernels());
  return backend;
}

Result<cudaStream_t> CudaBackend::enter(Stream stream) const {
  TNL_TRY(cuda_status(cudaSetDevice(properties_.gpu.index), "choosing the GPU"));
  return stream.own ? stream_ : static_cast<cudaStream_t>(stream.handle);
}

Result<void*> CudaBackend::allocate(std::size_t bytes, const char* purpose) {
  TNL_ASSIGN(const cudaStream_t stream, enter());
  void* data = nullptr;
  if (bytes == 0) return data;
  const cudaError_t error = cudaMalloc(&data, bytes);
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // it is dealt with
    std::size_t free_bytes = 0, total = 0;
    cudaMemGetInfo(&free_bytes, &total);
    return unavailable("out of memory on " + properties_.name + ": " + mebibytes(bytes) + " for " +
                       purpose + ", " + mebibytes(free_bytes) + " of " + mebibytes(total) +
                       " are free");
  }
  TNL_TRY(cuda_status(error, "allocating memory of the GPU"));
  // Whoever queues work on another stream has to find zeros too.
  cudaError_t filled = cudaMemsetAsync(data, 0, bytes, stream);
  if (filled == cudaSuccess) filled = cudaStreamSynchronize(stream);
  if (filled != cudaSuccess) cudaFree(data);
  TNL_TRY(cuda_status(filled, "filling memory of the GPU with zeros"));
  return data;
}

void CudaBackend::free(void* data) {
  if (data != nullptr && enter().ok()) cudaFree(data);
}

Status CudaBackend::upload(void* to, const void* from, std::size_t bytes) {
  TNL_TRY(failed_);
  if (bytes == 0) return {};
  TNL_ASSIGN(const cudaStream_t stream, enter());
  TNL_TRY(cuda_status(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream),
                      "copying to the GPU"));
  return cuda_status(cudaStreamSynchronize(stream), "copying to the GPU");
}

Status CudaBackend::download(void* to, const void* from, std::size_t bytes) {
  TNL_TRY(failed_);
  if (bytes == 0) return {};
  TNL_ASSIGN(const cudaStream_t stream, enter());
  TNL_TRY(cuda_status(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream),
                      "copying from the GPU"));
  return cuda_status(cudaStreamSynchronize(stream), "copying from the GPU");
}

Status CudaBackend::synchronize() {
  TNL_TRY(failed_);
  TNL_TRY(enter().status());
  return cuda_status(cudaDeviceSynchronize(), "work of the GPU");
}

Status CudaBackend::attention(std::span<const AttentionProblem> problems, const AttentionPlan& plan,
                              void* workspace, Stream stream) {
  TNL_ASSIGN(const cudaStream_t queue, enter(stream));
  const auto* details = dynamic_cast<const cuda::PlanDetails*>(plan.details.get());
  TNL_CHECK(details != nullptr && problems.size() <= cuda::kMaxCalls);
  std::array<AttentionProblem, cuda::kMaxCalls> kept;
  std::copy(problems.begin(), problems.end(), kept.begin());
  char* copy = static_cast<char*>(workspace) + details->launches.workspace_bytes;
  for (const int i : details->kept_states) {
    const std::size_t bytes = cuda::state_bytes(kept[i]);
    const std::size_t exact = sizeof(float) * problems[i].sequences * problems[i].heads *
                              problems[i].key_dim * problems[i].value_dim;
    TNL_TRY(cuda_status(
        cudaMemcpyAsync(copy, kept[i].state_in.data, exact, cudaMemcpyDeviceToDevice, queue),
        "keeping the incoming state"));
    kept[i].state_in.data = copy;
    copy += bytes;
  }
  return cuda::run_attention(std::span(kept).first(problems.size()), details->launches, workspace,
                             queue);
}

Status CudaBackend::attention_step(const AttentionProblem& problem, const AttentionStep& step,
                                   const std::string& kernel, Stream stream) {
  TNL_ASSIGN(const cudaStream_t queue, enter(stream));
  return cuda::run_step(problem, step, queue, {.general = kernel == "general"});
}

namespace {

Result<std::unique_ptr<Backend>> open_backend(int index, DeviceProperties properties) {
  TNL_ASSIGN(properties, cuda::query_device(index, std::move(properties)));
  return CudaBackend::open(std::move(properties));
}

}  // namespace
}  // namespace tnl

// What the main library looks up (cuda_library.h).
extern "C" {
extern const char* const tnl_cuda_interface;
extern const tnl::CudaOpen tnl_cuda_open;
const char* const tnl_cuda_interface = tnl::kCudaInterface;
const tnl::CudaOpen tnl_cuda_open = tnl::open_backend;
}
