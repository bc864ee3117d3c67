// The CPU with recordings as strict as a GPU's graphs: operations are kept with the scalars and
// addresses they were given and only done when the recording runs, and while one is made nothing
// may be allocated, copied to or from the host, or waited for.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "core/try.h"

namespace tnl::test {

class RecordingCpu : public CpuBackend {
 public:
  using CpuBackend::CpuBackend;

  Result<std::unique_ptr<Recording>> record(std::function<Status()> work) override {
    auto recording = std::make_unique<Tape>();
    tape_ = &recording->operations;
    const Status status = work();
    tape_ = nullptr;
    TNL_TRY(status);
    return std::unique_ptr<Recording>(std::move(recording));
  }

  Result<void*> allocate(std::size_t bytes, const char* purpose) override {
    TNL_TRY(forbidden("allocating"));
    TNL_ASSIGN(void* const data, CpuBackend::allocate(bytes, purpose));
    allocated_.insert(data);
    return data;
  }
  void free(void* data) override {
    allocated_.erase(data);
    CpuBackend::free(data);
  }
  Status upload(void* to, const void* from, std::size_t bytes) override {
    TNL_TRY(forbidden("copying"));
    return CpuBackend::upload(to, from, bytes);
  }
  Status download(void* to, const void* from, std::size_t bytes) override {
    TNL_TRY(forbidden("copying"));
    return CpuBackend::download(to, from, bytes);
  }
  Status synchronize() override { return forbidden("waiting"); }

  void copy(const Matrix& from, const Matrix& to) override {
    queue([=, this] { CpuBackend::copy(from, to); });
  }
  void zero(void* data, std::size_t bytes) override {
    queue([=, this] { CpuBackend::zero(data, bytes); });
  }
  void matmul(MatmulForm form, double alpha, const Matrix& a, const Matrix& b, double beta,
              const Matrix& c) override {
    queue([=, this] { CpuBackend::matmul(form, alpha, a, b, beta, c); });
  }
  void embed(const Matrix& table, std::span<const std::int32_t> ids, double scale,
             const Matrix& out) override {
    queue([=, this] { CpuBackend::embed(table, ids, scale, out); });
  }
  void embed_backward(const Matrix& d_out, std::span<const std::int32_t> ids, double scale,
                      std::int64_t skip_id, const Matrix& d_table) override {
    queue([=, this] { CpuBackend::embed_backward(d_out, ids, scale, skip_id, d_table); });
  }
  void srmsnorm(const Matrix& x, double eps, const Matrix& y) override {
    queue([=, this] { CpuBackend::srmsnorm(x, eps, y); });
  }
  void srmsnorm_backward(const Matrix& x, const Matrix& dy, double eps, bool accumulate,
                         const Matrix& dx, const Matrix& y) override {
    queue([=, this] { CpuBackend::srmsnorm_backward(x, dy, eps, accumulate, dx, y); });
  }
  void split(const SplitArgs& args) override {
    queue([=, this] { CpuBackend::split(args); });
  }
  void split_backward(const SplitArgs& args, const Matrix& d_projection,
                      const Matrix& d_theta) override {
    queue([=, this] { CpuBackend::split_backward(args, d_projection, d_theta); });
  }
  void norm_gate(GateKind kind, const Matrix& o, const Matrix& u, double eps,
                 const Matrix& y) override {
    queue([=, this] { CpuBackend::norm_gate(kind, o, u, eps, y); });
  }
  void norm_gate_backward(GateKind kind, const Matrix& o, const Matrix& u, const Matrix& dy,
                          double eps, const Matrix& d_o, const Matrix& d_u,
                          const Matrix& y) override {
    queue([=, this] { CpuBackend::norm_gate_backward(kind, o, u, dy, eps, d_o, d_u, y); });
  }
  void product(const Matrix& a, const Matrix& b, const Matrix& y) override {
    queue([=, this] { CpuBackend::product(a, b, y); });
  }
  void product_backward(const Matrix& a, const Matrix& b, const Matrix& dy, const Matrix& da,
                        const Matrix& db, const Matrix& y) override {
    queue([=, this] { CpuBackend::product_backward(a, b, dy, da, db, y); });
  }
  void cross_entropy(const Matrix& logits, std::span<const std::int32_t> targets,
                     const double* d_scale, std::span<double> losses) override {
    queue([=, this] { CpuBackend::cross_entropy(logits, targets, d_scale, losses); });
  }
  Status attention(std::span<const AttentionProblem> problems, const AttentionPlan& plan,
                   void* workspace, Stream stream) override {
    if (tape_ == nullptr) return CpuBackend::attention(problems, plan, workspace, stream);
    std::vector<HostOperands> kept(problems.begin(), problems.end());
    tape_->push_back([=, this]() -> Status {
      if (workspace != nullptr && !allocated_.contains(workspace)) {
        return internal_error("replayed with a workspace that is gone");
      }
      std::vector<AttentionProblem> again;
      for (const HostOperands& operands : kept) again.push_back(operands.problem());
      return CpuBackend::attention(again, plan, workspace, stream);
    });
    return {};
  }
  Status attention_step(const AttentionProblem& problem, const AttentionStep& step,
                        const std::string& kernel, Stream stream) override {
    if (tape_ == nullptr) return CpuBackend::attention_step(problem, step, kernel, stream);
    TNL_CHECK(step.slots.empty());
    tape_->push_back([=, this, kept = HostOperands(problem)] {
      return CpuBackend::attention_step(kept.problem(), step, kernel, stream);
    });
    return {};
  }

 private:
  using Operations = std::vector<std::function<Status()>>;

  struct Tape final : Recording {
    Status run() override {
      for (const auto& operation : operations) TNL_TRY(operation());
      return {};
    }
    Operations operations;
  };

  // A problem with what has been read when the call returns.
  class HostOperands {
   public:
    HostOperands(const AttentionProblem& problem)
        : problem_(problem),
          cu_seqlens_(problem.cu_seqlens.begin(), problem.cu_seqlens.end()),
          log_decay_(problem.log_decay, problem.log_decay + problem.heads) {}
    AttentionProblem problem() const {
      AttentionProblem result = problem_;
      result.cu_seqlens = cu_seqlens_;
      result.log_decay = log_decay_.data();
      return result;
    }

   private:
    AttentionProblem problem_;
    std::vector<std::int64_t> cu_seqlens_;
    std::vector<float> log_decay_;
  };

  template <class Operation>
  void queue(const Operation& operation) {
    if (tape_ == nullptr) return operation();
    tape_->push_back([operation]() -> Status {
      operation();
      return {};
    });
  }
  Status forbidden(const char* what) const {
    if (tape_ == nullptr) return {};
    return internal_error(std::string(what) + " while a recording is made");
  }

  Operations* tape_ = nullptr;  // of the recording that is being made
  std::set<void*> allocated_;
};

}  // namespace tnl::test
