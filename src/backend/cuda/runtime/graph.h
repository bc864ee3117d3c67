// Launches that are kept as a CUDA graph.
#pragma once

#include <cuda_runtime_api.h>

#include <functional>
#include <memory>

#include "tnl/status.h"

namespace tnl::cuda {

struct DestroyGraph {
  void operator()(cudaGraphExec_t graph) const { cudaGraphExecDestroy(graph); }
};
using Graph = std::unique_ptr<CUgraphExec_st, DestroyGraph>;

// What `work` launches on the stream; none of it runs.
Result<Graph> capture_graph(const std::function<Status()>& work, cudaStream_t stream);

}  // namespace tnl::cuda
