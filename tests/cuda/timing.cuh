// Times on the device: medians of repetitions, each with a cold L2 (flushed by reading).
#pragma once

#include "support.cuh"

namespace tnl::cuda::device_test {

inline constexpr std::size_t kFlushBytes = 256u << 20;

static __global__ void read_kernel(const uint4* p, std::size_t n, unsigned* out) {
  unsigned x = 0;
  for (std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x; i < n;
       i += std::size_t{gridDim.x} * blockDim.x) {
    const uint4 y = p[i];
    x ^= y.x ^ y.y ^ y.z ^ y.w;
  }
  if (x == 0x12345678u) *out = x;
}

inline double median_ms(const Memory& flush, int reps, const std::function<void()>& body) {
  cudaEvent_t start, stop;
  CUDA_OK(cudaEventCreate(&start));
  CUDA_OK(cudaEventCreate(&stop));
  std::vector<float> times;
  for (int i = 0; i < reps + 2; ++i) {
    read_kernel<<<1056, 256>>>(static_cast<const uint4*>(flush.get()), kFlushBytes / 16,
                               static_cast<unsigned*>(flush.get()));
    CUDA_OK(cudaEventRecord(start));
    body();
    CUDA_OK(cudaEventRecord(stop));
    CUDA_OK(cudaEventSynchronize(stop));
    CUDA_OK(cudaGetLastError());
    float ms;
    CUDA_OK(cudaEventElapsedTime(&ms, start, stop));
    if (i >= 2) times.push_back(ms);
  }
  std::sort(times.begin(), times.end());
  cudaEventDestroy(start);
  cudaEventDestroy(stop);
  return times[times.size() / 2];
}

// Replays `body` from a graph: the time without the host's.
inline double graph_ms(const Memory& flush, int reps,
                       const std::function<void(cudaStream_t)>& body) {
  cudaStream_t stream;
  CUDA_OK(cudaStreamCreate(&stream));
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  CUDA_OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  body(stream);
  CUDA_OK(cudaStreamEndCapture(stream, &graph));
  CUDA_OK(cudaGraphInstantiate(&exec, graph, 0));
  const double ms = median_ms(flush, reps, [&] { CUDA_OK(cudaGraphLaunch(exec, nullptr)); });
  CUDA_OK(cudaGraphExecDestroy(exec));
  CUDA_OK(cudaGraphDestroy(graph));
  CUDA_OK(cudaStreamDestroy(stream));
  return ms;
}

inline double copy_bandwidth(const Memory& flush) {
  const std::size_t bytes = std::size_t{1} << 30;
  Memory a(bytes), b(bytes);
  return 2.0 * bytes /
         median_ms(
             flush, 9,
             [&] { CUDA_OK(cudaMemcpyAsync(b.get(), a.get(), bytes, cudaMemcpyDeviceToDevice)); }) *
         1e3;
}

}  // namespace tnl::cuda::device_test
