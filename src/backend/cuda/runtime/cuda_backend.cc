#include "backend/cuda/runtime/cuda_backend.h"

#include <algorithm>
#include <array>
#include <cstring>
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

CudaBackend::CudaBackend(DeviceProperties properties, cudaStream_t stream, std::size_t free_bytes)
    : properties_(std::move(properties)),
      pool_(properties_.threads),
      stream_(stream),
      free_when_opened_(free_bytes) {}

CudaBackend::~CudaBackend() {
  if (!enter().ok()) return;
  cudaStreamSynchronize(stream_);
  matmul_.reset();
  free(matmul_workspace_);
  free(scratch_);
  free(flush_);
  cudaFreeHost(staging_);
  cudaFreeHost(uploads_);
  cudaStreamDestroy(stream_);
}

Result<std::unique_ptr<Backend>> CudaBackend::open(DeviceProperties properties) {
  TNL_TRY(cuda_status(cudaSetDevice(properties.gpu.index), "opening the GPU"));
  cudaStream_t stream = nullptr;
  TNL_TRY(
      cuda_status(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "creating a stream"));
  std::size_t free_bytes = 0, total = 0;
  TNL_TRY(cuda_status(cudaMemGetInfo(&free_bytes, &total), "asking for the GPU's free memory"));
  std::unique_ptr<Backend> backend(new CudaBackend(std::move(properties), stream, free_bytes));
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
  const std::lock_guard lock(allocations_mutex_);
  allocations_.emplace(data, bytes);
  allocated_ += bytes;
  return data;
}

void CudaBackend::free(void* data) {
  if (data == nullptr || !enter().ok()) return;
  {
    const std::lock_guard lock(allocations_mutex_);
    const auto entry = allocations_.find(data);
    TNL_CHECK(entry != allocations_.end());
    allocated_ -= entry->second;
    allocations_.erase(entry);
  }
  cudaFree(data);
}

Result<void*> CudaBackend::allocate_host(std::size_t bytes, const char* purpose) {
  TNL_TRY(enter().status());
  void* data = nullptr;
  if (bytes == 0) return data;
  if (cudaHostAlloc(&data, bytes, cudaHostAllocDefault) == cudaSuccess) return data;
  cudaGetLastError();  // it is dealt with
  return unavailable("out of memory: " + mebibytes(bytes) +
                     " of the host that the GPU can reach, for " + purpose);
}

void CudaBackend::free_host(void* data) {
  if (data != nullptr && enter().ok()) cudaFreeHost(data);
}

Result<std::optional<MemoryUse>> CudaBackend::memory_use() {
  TNL_TRY(enter().status());
  std::size_t free_bytes = 0, total = 0;
  TNL_TRY(cuda_status(cudaMemGetInfo(&free_bytes, &total), "asking for the GPU's free memory"));
  const std::lock_guard lock(allocations_mutex_);
  return std::optional(MemoryUse{
      allocated_, free_when_opened_ - std::min(free_bytes, free_when_opened_), free_bytes});
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
  // Into memory that the driver need not pin first: a token's logits come several times as fast.
  constexpr std::size_t kStagingBytes = std::size_t{4} << 20;
  TNL_TRY(failed_);
  if (bytes == 0) return {};
  TNL_ASSIGN(const cudaStream_t stream, enter());
  if (bytes <= kStagingBytes) {
    if (staging_ == nullptr) {
      TNL_TRY(cuda_status(cudaMallocHost(&staging_, kStagingBytes), "allocating pinned memory"));
    }
    TNL_TRY(cuda_status(cudaMemcpyAsync(staging_, from, bytes, cudaMemcpyDeviceToHost, stream),
                        "copying from the GPU"));
    TNL_TRY(cuda_status(cudaStreamSynchronize(stream), "copying from the GPU"));
    std::memcpy(to, staging_, bytes);
    return {};
  }
  TNL_TRY(cuda_status(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream),
                      "copying from the GPU"));
  return cuda_status(cudaStreamSynchronize(stream), "copying from the GPU");
}

Status CudaBackend::queue_upload(void* to, const void* from, std::size_t bytes) {
  constexpr std::size_t kRoom = std::size_t{64} << 10, kMost = kRoom / 4, kAlignment = 64;
  if (bytes > kMost) return upload(to, from, bytes);
  TNL_TRY(failed_);
  if (bytes == 0) return {};
  TNL_ASSIGN(const cudaStream_t stream, enter());
  if (uploads_ == nullptr) {
    void* memory = nullptr;
    TNL_TRY(cuda_status(cudaMallocHost(&memory, kRoom), "allocating pinned memory"));
    uploads_ = static_cast<char*>(memory);
  }
  if (uploads_used_ + bytes > kRoom) TNL_TRY(finish());  // the copies are done: begin again
  char* const kept = uploads_ + uploads_used_;
  std::memcpy(kept, from, bytes);
  uploads_used_ += (bytes + kAlignment - 1) / kAlignment * kAlignment;
  return cuda_status(cudaMemcpyAsync(to, kept, bytes, cudaMemcpyHostToDevice, stream),
                     "copying to the GPU");
}

Status CudaBackend::queue_download(void* to, const void* from, std::size_t bytes) {
  TNL_TRY(failed_);
  if (bytes == 0) return {};
  TNL_ASSIGN(const cudaStream_t stream, enter());
  return cuda_status(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream),
                     "copying from the GPU");
}

Status CudaBackend::finish() {
  TNL_TRY(failed_);
  TNL_ASSIGN(const cudaStream_t stream, enter());
  TNL_TRY(cuda_status(cudaStreamSynchronize(stream), "work of the GPU"));
  uploads_used_ = 0;
  return {};
}

Status CudaBackend::synchronize() {
  TNL_TRY(failed_);
  TNL_TRY(enter().status());
  return cuda_status(cudaDeviceSynchronize(), "work of the GPU");
}

Status CudaBackend::attention(std::span<const AttentionProblem> problems, const AttentionPlan& plan,
                              void* workspace, Stream stream) {
  TNL_ASSIGN(const cudaStream_t queue, enter(stream));
  projected_ = false;
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
  // project() writes no states, and neither do the slots of the host.
  const bool dependent = stream.own && std::exchange(projected_, false) &&
                         step.device_slots == nullptr && step.replay.tokens == 0 &&
                         properties_.gpu.capability >= 90;
  return cuda::run_step(problem, step, queue,
                        {.general = kernel == "general", .dependent = dependent});
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
