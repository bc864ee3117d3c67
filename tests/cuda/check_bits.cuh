// Ways of running one call that must give the same bits.
#pragma once

#include <tuple>

#include "check_list.cuh"
#include "core/try.h"

namespace tnl::cuda::device_test {

// Bits that two ways of running one call must share: of the outputs and the final states.
using Variant = std::function<Status(std::span<const AttentionProblem>, const DeviceLimits&)>;

inline Status run_with(std::span<const AttentionProblem> problems, const DeviceLimits& limits,
                       const PlanOptions& options, bool tables_ready) {
  TNL_ASSIGN(const Plan plan, plan_attention(problems, limits, options));
  Memory workspace(plan.workspace_bytes);
  if (tables_ready) TNL_TRY(upload_tables(problems, plan, workspace.get(), nullptr));
  TNL_TRY(run_attention(problems, plan, workspace.get(), nullptr, tables_ready));
  CUDA_OK(cudaDeviceSynchronize());
  return {};
}

// The same through a CUDA graph, replayed twice.
inline Status run_in_graph(std::span<const AttentionProblem> problems, const DeviceLimits& limits,
                           const PlanOptions& options) {
  TNL_ASSIGN(const Plan plan, plan_attention(problems, limits, options));
  Memory workspace(plan.workspace_bytes);
  cudaStream_t stream;
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  CUDA_OK(cudaStreamCreate(&stream));
  CUDA_OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  TNL_TRY(run_attention(problems, plan, workspace.get(), stream));
  CUDA_OK(cudaStreamEndCapture(stream, &graph));
  CUDA_OK(cudaGraphInstantiate(&exec, graph, 0));
  for (int i = 0; i < 2; ++i) CUDA_OK(cudaGraphLaunch(exec, stream));
  CUDA_OK(cudaStreamSynchronize(stream));
  CUDA_OK(cudaGraphExecDestroy(exec));
  CUDA_OK(cudaGraphDestroy(graph));
  CUDA_OK(cudaStreamDestroy(stream));
  return {};
}

inline bool same_bits(const char* name, const Case& c, const DeviceLimits& limits,
                      const Variant& one, const Variant& other) {
  std::vector<unsigned char> bytes[2];
  for (int i = 0; i < 2; ++i) {
    Operands x;
    const std::vector<AttentionProblem> problems = build(c, x);
    const Status status = (i == 0 ? one : other)(problems, limits);
    if (!status.ok()) std::printf("     %s\n", status.message().c_str());
    bytes[i] = download(x);
  }
  const bool ok = bytes[0] == bytes[1];
  std::printf("%s %s\n", ok ? "ok  " : "FAIL", name);
  return ok;
}

inline int check_same_bits(const DeviceLimits& limits, int& count) {
  int failed = 0;
  const auto options = [](const PlanOptions& o, bool ready = false) -> Variant {
    return [=](std::span<const AttentionProblem> p, const DeviceLimits& l) {
      return run_with(p, l, o, ready);
    };
  };
  for (auto [K, V, paired, single] : {std::tuple{64, 64, "sweep64", "sweep64-single"},
                                      {128, 128, "sweep128", "sweep128-single"},
                                      {256, 128, "sweep256", "sweep256-single"}}) {
    for (Split split : {Split::kNone, Split::kState, Split::kAll}) {
      const Case c{.name = "", .T = 700, .K = K, .V = V};
      ++count;
      failed += !same_bits((std::string("same bits ") + paired + ", " + single).c_str(), c, limits,
                           options(forced(paired, "plain", 0, split)),
                           options(forced(single, "plain", 0, split)));
    }
  }
  // Sequences of one chunk.
  for (Split split : {Split::kNone, Split::kState, Split::kAll}) {
    for (Call call : {Call::kForward, Call::kReverse, Call::kBackward}) {
      for (auto [K, V] : {std::pair{128, 128}, {72, 200}}) {
        for (bool packed : {false, true}) {
          Case c{.name = "", .T = split == Split::kNone ? 37 : 64, .K = K, .V = V, .call = call};
          if (packed) c.lengths = {1, 0, 63, 64, 5};
          c.state_in = false;
          if (call == Call::kBackward && V > 128) continue;
          ++count;
          failed += !same_bits("same bits sweep128, chunk128", c, limits,
                               options(forced("sweep128", "plain", 0, split)),
                               options(forced("chunk128", "plain", 0, split)));
        }
      }
    }
  }
  for (const char* segments : {"warm", "carry"}) {
    const Case c{.name = "", .N = 1, .T = 5000, .H = 3};
    const PlanOptions o = forced("sweep128", segments, 40);
    count += 2;
    failed += !same_bits("same bits tables ready", c, limits, options(o), options(o, true));
    failed += !same_bits("same bits in a graph", c, limits, options(o),
                         [=](std::span<const AttentionProblem> p, const DeviceLimits& l) {
                           return run_in_graph(p, l, o);
                         });
  }
  return failed;
}

}  // namespace tnl::cuda::device_test
