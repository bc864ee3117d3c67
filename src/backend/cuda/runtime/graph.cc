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

// A graph of work on the backend's own stream, made anew where what it holds of the backend has
// changed.
class CudaBackend::GraphRecording final : public Recording {
 public:
  GraphRecording(CudaBackend& backend, std::function<Status()> work)
      : backend_(backend), work_(std::move(work)) {}
  ~GraphRecording() override {
    if (const auto stream = backend_.enter(); stream.ok()) cudaStreamSynchronize(*stream);
  }

  Status capture() {
    TNL_ASSIGN(graph_, backend_.capture(work_));
    arrangement_ = backend_.arrangement_;
    return {};
  }
  Status run() override {
    TNL_TRY(backend_.failed_);
    TNL_ASSIGN(const cudaStream_t stream, backend_.enter());
    if (arrangement_ != backend_.arrangement_) TNL_TRY(capture());
    backend_.projected_ = false;
    return cuda_status(cudaGraphLaunch(graph_.get(), stream), "launching a graph");
  }

 private:
  CudaBackend& backend_;
  std::function<Status()> work_;
  cuda::Graph graph_;
  std::int64_t arrangement_ = 0;
};

Result<cuda::Graph> CudaBackend::capture(const std::function<Status()>& work) {
  TNL_TRY(failed_);
  TNL_ASSIGN(const cudaStream_t stream, enter());
  const auto whole = [&]() -> Status {
    TNL_TRY(work());
    return failed_;
  };
  return cuda::capture_graph(whole, stream);
}

Result<std::unique_ptr<Recording>> CudaBackend::record(std::function<Status()> work) {
  auto recording = std::make_unique<GraphRecording>(*this, std::move(work));
  TNL_TRY(recording->capture());
  return std::unique_ptr<Recording>(std::move(recording));
}

}  // namespace tnl
