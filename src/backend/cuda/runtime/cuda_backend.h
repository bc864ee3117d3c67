// One GPU: its memory, its own stream, and the operations of backend.h on it.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>

#include "backend/backend.h"
#include "backend/cuda/ops/matmul.h"
#include "backend/cuda/ops/ops.h"
#include "backend/cuda/runtime/graph.h"

namespace tnl {

class CudaBackend final : public Backend {
 public:
  // `properties` are complete (device_query.h).
  static Result<std::unique_ptr<Backend>> open(DeviceProperties properties);
  ~CudaBackend() override;

  const DeviceProperties& properties() const override { return properties_; }
  DType compute_dtype() const override { return properties_.gpu.compute; }
  ThreadPool& pool() override { return pool_; }

  Result<void*> allocate(std::size_t bytes, const char* purpose) override;
  void free(void* data) override;
  Result<void*> allocate_host(std::size_t bytes, const char* purpose) override;
  void free_host(void* data) override;
  Result<std::optional<MemoryUse>> memory_use() override;
  MemoryUse own_memory(std::int64_t tokens, std::int64_t width, std::int64_t layers) const override;
  Status upload(void* to, const void* from, std::size_t bytes) override;
  Status download(void* to, const void* from, std::size_t bytes) override;
  Status queue_upload(void* to, const void* from, std::size_t bytes) override;
  Status queue_download(void* to, const void* from, std::size_t bytes) override;
  Status synchronize() override;
  Status finish() override;
  Result<double> time(const std::function<Status()>& work, const TimingOptions& options) override;
  Result<double> read_bandwidth() override;
  Result<std::unique_ptr<Recording>> record(std::function<Status()> work) override;

  std::string choices() const override;
  Result<std::string> adopt_choices(std::string_view text) override;

  void copy(const Matrix& from, const Matrix& to) override;
  void zero(void* data, std::size_t bytes) override;
  void matmul(MatmulForm form, double alpha, const Matrix& a, const Matrix& b, double beta,
              const Matrix& c) override;
  void matmul_onto(const Matrix& residual, const Matrix& a, const Matrix& b,
                   const Matrix& c) override;
  std::int64_t most_invariant_rows() const override { return cuda::kMostFewRows; }
  void project(const ProjectArgs& args) override;
  void gate_onto(GateKind kind, const Matrix& o, const Matrix& u, double eps, const Matrix& gated,
                 const Matrix& weights, const Matrix& residual, const Matrix& out) override;
  void norm_glu(const Matrix& x, double eps, const Matrix& normed, const Matrix& weights,
                const Matrix& both, const Matrix& product) override;
  void norm_matmul(const Matrix& x, double eps, const Matrix& normed, const Matrix& weights,
                   const Matrix& y) override;
  void embed(const Matrix& table, std::span<const std::int32_t> ids, double scale,
             const Matrix& out) override;
  void embed_backward(const Matrix& d_out, std::span<const std::int32_t> ids, double scale,
                      std::int64_t skip_id, const Matrix& d_table) override;
  void srmsnorm(const Matrix& x, double eps, const Matrix& y) override;
  void srmsnorm_backward(const Matrix& x, const Matrix& dy, double eps, bool accumulate,
                         const Matrix& dx, const Matrix& y = {}) override;
  void split(const SplitArgs& args) override;
  void split_backward(const SplitArgs& args, const Matrix& d_projection,
                      const Matrix& d_theta) override;
  void norm_gate(GateKind kind, const Matrix& o, const Matrix& u, double eps,
                 const Matrix& y) override;
  void norm_gate_backward(GateKind kind, const Matrix& o, const Matrix& u, const Matrix& dy,
                          double eps, const Matrix& d_o, const Matrix& d_u,
                          const Matrix& y = {}) override;
  void product(const Matrix& a, const Matrix& b, const Matrix& y) override;
  void product_backward(const Matrix& a, const Matrix& b, const Matrix& dy, const Matrix& da,
                        const Matrix& db, const Matrix& y = {}) override;
  void cross_entropy(const Matrix& logits, std::span<const std::int32_t> targets,
                     const double* d_scale, std::span<double> losses) override;
  Status attention(std::span<const AttentionProblem> problems, const AttentionPlan& plan,
                   void* workspace, Stream stream) override;
  Status attention_step(const AttentionProblem& problem, const AttentionStep& step,
                        const std::string& kernel, Stream stream) override;
  void adamw(const AdamWArgs& args) override;
  double sum_of_squares(std::span<const float> values) override;

 private:
  class GraphRecording;

  CudaBackend(DeviceProperties properties, cudaStream_t stream, std::size_t free_bytes);

  // The stream to queue on; makes this GPU the calling thread's.
  Result<cudaStream_t> enter(Stream stream = {}) const;

  // Runs `body(stream)` unless something has failed before, and keeps its error.
  template <class Body>
  void queue(const Body& body);
  // Memory for one operation, until the next asks.
  Result<void*> scratch(std::size_t bytes);
  Status product_onto(MatmulForm form, double alpha, const Matrix& a, const Matrix& b, double beta,
                      const Matrix& c, const Matrix& out, cudaStream_t stream);
  cuda::FewRowsLaunch overlapping(cudaStream_t stream) const;
  Result<cuda::Graph> capture(const std::function<Status()>& work);
  // cuBLASLt, from its first use on.
  Result<cuda::Matmul*> products();

  DeviceProperties properties_;
  ThreadPool pool_;
  cudaStream_t stream_;  // owned
  Status failed_;        // the first error of an operation that returns none
  std::size_t free_when_opened_;
  std::mutex allocations_mutex_;
  std::unordered_map<void*, std::size_t> allocations_;  // their bytes
  std::size_t allocated_ = 0;                           // all of them
  void* scratch_ = nullptr;
  std::size_t scratch_bytes_ = 0;
  std::int64_t arrangement_ = 0;  // of what recordings hold of ours: counts its changes
  void* matmul_workspace_ = nullptr;
  std::unique_ptr<cuda::Matmul> matmul_;
  void* flush_ = nullptr;    // of time(), owned
  void* staging_ = nullptr;  // of download(), pinned memory of the host, owned
  char* uploads_ = nullptr;  // of queue_upload(), likewise
  std::size_t uploads_used_ = 0;
  bool projected_ = false;  // the kernel queued last is project()'s: it writes no states
};

}  // namespace tnl
