// How long the GPU takes for something, by its own clock.
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>

#include "backend/cuda/lightning/kernels.h"
#include "backend/cuda/runtime/cuda_backend.h"
#include "backend/cuda/runtime/graph.h"
#include "core/try.h"

namespace tnl {

using cuda::cuda_status;

namespace {

// Larger than any second-level cache so far, and long enough for the host to queue what is timed.
constexpr std::size_t kFlushBytes = std::size_t{256} << 20;

// Four loads of a thread are under way together: enough to reach the memory's limit.
__global__ void __launch_bounds__(256)
    read_kernel(const uint4* data, std::int64_t count, std::uint32_t* sink) {
  constexpr int kLoads = 4;
  const std::int64_t step = std::int64_t{gridDim.x} * blockDim.x;
  std::uint32_t sum = 0;
  for (std::int64_t i = blockIdx.x * std::int64_t{blockDim.x} + threadIdx.x; i < count;
       i += kLoads * step) {
    uint4 x[kLoads];
#pragma unroll
    for (int at = 0; at < kLoads; ++at) x[at] = data[min(i + at * step, count - 1)];
#pragma unroll
    for (int at = 0; at < kLoads; ++at) sum |= x[at].x | x[at].y | x[at].z | x[at].w;
  }
  if (sum != 0) *sink = sum;  // never: the memory holds zeros
}

Status launch_read(const void* data, std::size_t bytes, void* sink, int multiprocessors,
                   cudaStream_t stream) {
  read_kernel<<<8 * multiprocessors, 256, 0, stream>>>(
      static_cast<const uint4*>(data), static_cast<std::int64_t>(bytes / sizeof(uint4)),
      static_cast<std::uint32_t*>(sink));
  return cuda_status(cudaGetLastError(), "reading memory of the GPU");
}

struct DestroyEvent {
  void operator()(cudaEvent_t event) const { cudaEventDestroy(event); }
};
using Event = std::unique_ptr<CUevent_st, DestroyEvent>;

Result<Event> new_event() {
  cudaEvent_t event = nullptr;
  TNL_TRY(cuda_status(cudaEventCreate(&event), "creating an event"));
  return Event(event);
}

}  // namespace

Result<double> CudaBackend::time(const std::function<Status()>& work,
                                 const TimingOptions& options) {
  TNL_ASSIGN(const cudaStream_t stream, enter());
  TNL_ASSIGN(const Event start, new_event());
  TNL_ASSIGN(const Event end, new_event());
  cuda::Graph graph;
  if (options.graph) {
    TNL_ASSIGN(graph, cuda::capture_graph(work, stream));
  }
  if (options.cold) {
    if (flush_ == nullptr) {
      TNL_ASSIGN(flush_, allocate(kFlushBytes, "flushing the cache"));
    }
    TNL_TRY(launch_read(flush_, kFlushBytes, flush_, properties_.gpu.multiprocessors, stream));
  }
  TNL_TRY(cuda_status(cudaEventRecord(start.get(), stream), "recording an event"));
  if (options.graph) {
    TNL_TRY(cuda_status(cudaGraphLaunch(graph.get(), stream), "launching a graph"));
  } else {
    TNL_TRY(work());
  }
  TNL_TRY(cuda_status(cudaEventRecord(end.get(), stream), "recording an event"));
  TNL_TRY(cuda_status(cudaEventSynchronize(end.get()), "work of the GPU"));
  float milliseconds = 0;
  TNL_TRY(
      cuda_status(cudaEventElapsedTime(&milliseconds, start.get(), end.get()), "reading an event"));
  return 1e-3 * milliseconds;
}

Result<double> CudaBackend::read_bandwidth() {
  constexpr std::size_t kBytes = std::size_t{1} << 30;
  constexpr int kPasses = 8;
  TNL_ASSIGN(void* const data, allocate(kBytes, "the measurement of bandwidth"));
  double best = 0;
  Status status;
  for (int pass = 0; pass < kPasses && status.ok(); ++pass) {
    const Result<double> seconds = time(
        [&] { return launch_read(data, kBytes, data, properties_.gpu.multiprocessors, stream_); },
        {});
    status = seconds.status();
    if (status.ok()) best = std::max(best, static_cast<double>(kBytes) / *seconds);
  }
  free(data);
  TNL_TRY(status);
  return best;
}

}  // namespace tnl
