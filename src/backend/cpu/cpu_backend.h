// fp32 arithmetic with the row kernels of one CPU target, rows over the threads of the pool; matrix
// products through oneDNN. Scratch memory is taken at first use and kept.
#pragma once

#include <functional>
#include <span>
#include <string>

#include "backend/cpu/simd/kernels.h"
#include "backend/host_backend.h"
#include "core/buffer.h"
#include "core/check.h"

namespace tnl {

class CpuBackend : public HostBackend {
 public:
  explicit CpuBackend(const DeviceProperties& properties);

  const DeviceProperties& properties() const override { return properties_; }
  DType compute_dtype() const override { return DType::kF32; }
  ThreadPool& pool() override { return pool_; }

  void copy(const Matrix& from, const Matrix& to) override;
  void zero(void* data, std::size_t bytes) override;
  void matmul(MatmulForm form, double alpha, const Matrix& a, const Matrix& b, double beta,
              const Matrix& c) override;

  Result<double> read_bandwidth() override;
  std::int64_t most_invariant_rows() const override;
  void embed(const Matrix& table, std::span<const std::int32_t> ids, double scale,
             const Matrix& out) override;
  void embed_backward(const Matrix& d_out, std::span<const std::int32_t> ids, double scale,
                      std::int64_t skip_id, const Matrix& d_table) override;

  void srmsnorm(const Matrix& x, double eps, const Matrix& y) override;
  void srmsnorm_backward(const Matrix& x, const Matrix& dy, double eps, bool accumulate,
                         const Matrix& dx, const Matrix& y = {}) override;
  void norm_gate(GateKind kind, const Matrix& o, const Matrix& u, double eps,
                 const Matrix& y) override;
  void norm_gate_backward(GateKind kind, const Matrix& o, const Matrix& u, const Matrix& dy,
                          double eps, const Matrix& d_o, const Matrix& d_u,
                          const Matrix& y = {}) override;

  void split(const SplitArgs& args) override;
  void split_backward(const SplitArgs& args, const Matrix& d_projection,
                      const Matrix& d_theta) override;

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
  // Calls body(row) for every row, spread over the threads where there is enough work.
  template <class Body>
  void for_rows(std::int64_t rows, std::int64_t cols, const Body& body) {
    constexpr std::int64_t kGrain = 8192;  // elements: several microseconds of work
    const auto piece = [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t row = begin; row < end; ++row) body(row);
    };
    // By reference: a std::function of more than two words would allocate.
    pool_.split(rows, kGrain / (cols + 1) + 1, std::ref(piece));
  }

  // At least `count` zero or stale elements, until the next call for the same buffer.
  template <class T>
  static T* reserve(Buffer& buffer, std::int64_t count);

  const float* widened_theta(const SplitArgs& args);
  void gemv(double alpha, const Matrix& a, const Matrix& b, double beta, const Matrix& c);

  DeviceProperties properties_;
  const cpu::Kernels& kernels_;
  ThreadPool pool_;
  Buffer widened_, theta_, partial_sums_;
};

template <class T>
T* CpuBackend::reserve(Buffer& buffer, std::int64_t count) {
  const std::size_t bytes = static_cast<std::size_t>(count) * sizeof(T);
  if (buffer.bytes() < bytes) {
    auto larger = Buffer::allocate(bytes, "scratch of the CPU backend");
    TNL_CHECK(larger.ok());
    buffer = std::move(larger).value();
  }
  return static_cast<T*>(buffer.data());
}

}  // namespace tnl
