#include "backend/cuda/runtime/graph.h"

#include <utility>

#include "backend/cuda/lightning/kernels.h"
#include "backend/cuda/runtime/cuda_backend.h"
#include "core/try.h"

namespace tnl {

using cuda::cuda_status;

Result<cuda::Graph> cuda::capture_graph(const std::function<Status()>& work, cudaStream_t stream) {
  TNL_TRY(cuda_status(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal),
                      "recording a graph"));
  const Status status = work();
  cudaGraph_t graph = nullptr;
  const cudaError_t ended = cudaStreamEndCapture(stream, &graph);
  cudaGraphExec_t executable = nullptr;
  cudaError_t made = ended;
  if (status.ok() && ended == cudaSuccess) made = cudaGraphInstantiate(&executable, graph, 0);
  if (graph != nullptr) cudaGraphDestroy(graph);
  TNL_TRY(status);
  TNL_TRY(cuda_status(made, "recording a graph"));
  Graph result(executable);
  // Or the first launch would do it.
  TNL_TRY(cuda_status(cudaGraphUpload(executable, stream), "preparing a graph"));
  return Result<Graph>(std::move(result));
}

namespace {

class GraphRecording final : public Recording {
 public:
  GraphRecording(cuda::Graph graph, cudaStream_t stream, int device)
      : graph_(std::move(graph)), stream_(stream), device_(device) {}
  Status run() override {
    TNL_TRY(cuda_status(cudaSetDevice(device_), "choosing the GPU"));
    return cuda_status(cudaGraphLaunch(graph_.get(), stream_), "launching a graph");
  }

 private:
  cuda::Graph graph_;
  cudaStream_t stream_;
  int device_;
};

}  // namespace

Result<std::unique_ptr<Recording>> CudaBackend::record(std::function<Status()> work) {
  TNL_TRY(failed_);
  TNL_ASSIGN(const cudaStream_t stream, enter());
  const auto whole = [&]() -> Status {
    TNL_TRY(work());
    return failed_;
  };
  TNL_ASSIGN(cuda::Graph graph, cuda::capture_graph(whole, stream));
  return std::unique_ptr<Recording>(
      std::make_unique<GraphRecording>(std::move(graph), stream, properties_.gpu.index));
}

}  // namespace tnl
