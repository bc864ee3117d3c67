// How long the GPU takes for something, by its own clock.
#include <cuda_runtime.h>

#include <cstdint>
#include <memory>
#include <utility>

#include "backend/cuda/lightning/kernels.h"
#include "backend/cuda/runtime/cuda_backend.h"
#include "core/try.h"

namespace tnl {

using cuda::cuda_status;

namespace {

// Larger than any second-level cache so far, and long enough for the host to queue what is timed.
constexpr std::size_t kFlushBytes = std::size_t{256} << 20;

__global__ void read_kernel(const uint4* data, std::int64_t count, std::uint32_t* sink) {
  std::uint32_t sum = 0;
  for (std::int64_t i = blockIdx.x * std::int64_t{blockDim.x} + threadIdx.x; i < count;
       i += std::int64_t{gridDim.x} * blockDim.x) {
    const uint4 x = data[i];
    sum |= x.x | x.y | x.z | x.w;
  }
  if (sum != 0) *sink = sum;  // never: the memory holds zeros
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

struct DestroyGraph {
  void operator()(cudaGraphExec_t graph) const { cudaGraphExecDestroy(graph); }
};
using Graph = std::unique_ptr<CUgraphExec_st, DestroyGraph>;

Result<Graph> record(const std::function<Status()>& work, cudaStream_t stream) {
  TNL_TRY(cuda_status(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal),
                      "recording a graph"));
  const Status status = work();
  cudaGraph_t graph = nullptr;
  const cudaError_t ended = cudaStreamEndCapture(stream, &graph);
  TNL_TRY(status);
  TNL_TRY(cuda_status(ended, "recording a graph"));
  cudaGraphExec_t executable = nullptr;
  const cudaError_t made = cudaGraphInstantiate(&executable, graph, 0);
  cudaGraphDestroy(graph);
  TNL_TRY(cuda_status(made, "preparing a graph"));
  Graph result(executable);
  // Or the first launch would do it, within what is timed.
  TNL_TRY(cuda_status(cudaGraphUpload(executable, stream), "preparing a graph"));
  return Result<Graph>(std::move(result));
}

}  // namespace

Result<double> CudaBackend::time(const std::function<Status()>& work,
                                 const TimingOptions& options) {
  TNL_ASSIGN(const cudaStream_t stream, enter());
  TNL_ASSIGN(const Event start, new_event());
  TNL_ASSIGN(const Event end, new_event());
  Graph graph;
  if (options.graph) {
    TNL_ASSIGN(graph, record(work, stream));
  }
  if (options.cold) {
    if (flush_ == nullptr) {
      TNL_ASSIGN(flush_, allocate(kFlushBytes, "flushing the cache"));
    }
    read_kernel<<<8 * properties_.gpu.multiprocessors, 256, 0, stream>>>(
        static_cast<const uint4*>(flush_), kFlushBytes / sizeof(uint4),
        static_cast<std::uint32_t*>(flush_));
    TNL_TRY(cuda_status(cudaGetLastError(), "flushing the cache"));
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

}  // namespace tnl
