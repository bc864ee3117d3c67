// The model's operations on the CPU in fp32: matrix products from oneDNN, rows from simd/,
// attention from attention.h.
#pragma once

#include <vector>

#include "backend/backend.h"
#include "backend/cpu/simd/rows.h"
#include "core/buffer.h"

namespace tnl {

class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(const DeviceProperties& properties);

  const DeviceProperties& properties() const override { return properties_; }
  DType compute_dtype() const override { return DType::kF32; }
  ThreadPool& pool() override { return pool_; }

  void copy(const Matrix& from, const Matrix& to) override;
  void matmul(MatmulForm form, double alpha, const Matrix& a, const Matrix& b, double beta,
              const Matrix& c) override;
  void embed(const Matrix& table, std::span<const std::int32_t> ids, double scale,
             const Matrix& out) override;
  void embed_backward(const Matrix& d_out, std::span<const std::int32_t> ids, double scale,
                      std::int64_t skip_id, const Matrix& d_table) override;
  void srmsnorm(const Matrix& x, double eps, const Matrix& y) override;
  void srmsnorm_backward(const Matrix& x, const Matrix& dy, double eps, bool accumulate,
                         const Matrix& dx) override;
  void split(const SplitArgs& args) override;
  void split_backward(const SplitArgs& args, const Matrix& d_projection,
                      const Matrix& d_theta) override;
  void norm_gate(GateKind kind, const Matrix& o, const Matrix& u, double eps,
                 const Matrix& y) override;
  void norm_gate_backward(GateKind kind, const Matrix& o, const Matrix& u, const Matrix& dy,
                          double eps, const Matrix& d_o, const Matrix& d_u) override;
  void product(const Matrix& a, const Matrix& b, const Matrix& y) override;
  void product_backward(const Matrix& a, const Matrix& b, const Matrix& dy, const Matrix& da,
                        const Matrix& db) override;
  void cross_entropy(const Matrix& logits, std::span<const std::int32_t> targets, double d_scale,
                     std::span<double> losses) override;
  Status attention(const AttentionProblem& problem, const std::string& kernel, std::int64_t chunk,
                   std::int64_t value_slice, void* workspace) override;
  Status attention_step(const AttentionProblem& problem, std::span<const std::int64_t> slots,
                        const std::string& kernel) override;
  void adamw(const AdamWArgs& args) override;
  double sum_of_squares(std::span<const float> values) override;

 private:
  // body(row index) for all rows, spread over the threads.
  template <class Body>
  void for_rows(std::int64_t rows, std::int64_t cols, const Body& body) {
    constexpr std::int64_t kGrainElements = 16384;  // less is not worth a hand-over
    pool_.split(rows, kGrainElements / (cols + 1) + 1,
                [&](std::int64_t begin, std::int64_t end, int) {
                  for (std::int64_t row = begin; row < end; ++row) body(row);
                });
  }
  // fp32 scratch of `worker`, at least `elements` long; kept for the next call.
  float* scratch(int worker, std::int64_t elements);
  void few_rows_matmul(double alpha, const Matrix& a, const Matrix& b, double beta,
                       const Matrix& c);
  void gemm(MatmulForm form, double alpha, const Matrix& a, const Matrix& b, double beta,
            const Matrix& c, int worker);
  void split_row(const SplitArgs& args, const float* in, float* phases, float* out);
  void split_row_backward(const SplitArgs& args, const float* in, const float* d_out,
                          std::int64_t position, float* work, float* d_in, double* d_theta);

  DeviceProperties properties_;
  ThreadPool pool_;
  const cpu::RowKernels& rows_;
  std::vector<Buffer> scratch_;  // one for each worker
};

}  // namespace tnl
