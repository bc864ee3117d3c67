// Every operation in fp64 with plain loops: what the other backends are held to.
#pragma once

#include "backend/host_backend.h"

namespace tnl {

class ReferenceBackend final : public HostBackend {
 public:
  explicit ReferenceBackend(const DeviceProperties& properties)
      : properties_(properties), pool_(1) {}

  const DeviceProperties& properties() const override { return properties_; }
  DType compute_dtype() const override { return DType::kF64; }
  ThreadPool& pool() override { return pool_; }

  void copy(const Matrix& from, const Matrix& to) override;
  void zero(void* data, std::size_t bytes) override;
  void matmul(MatmulForm form, double alpha, const Matrix& a, const Matrix& b, double beta,
              const Matrix& c) override;
  std::int64_t most_invariant_rows() const override { return std::int64_t{1} << 31; }
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
  // fp64 attention has its references in src/attention, above the backends.
  Status attention(std::span<const AttentionProblem> problems, const AttentionPlan& plan,
                   void* workspace, Stream stream) override;
  Status attention_step(const AttentionProblem& problem, const AttentionStep& step,
                        const std::string& kernel, Stream stream) override;
  void adamw(const AdamWArgs& args) override;
  double sum_of_squares(std::span<const float> values) override;

 private:
  DeviceProperties properties_;
  ThreadPool pool_;
};

}  // namespace tnl
