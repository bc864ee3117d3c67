// What a backend does that fuses nothing and records nothing.
#include <utility>

#include "backend/backend.h"

namespace tnl {
namespace {

class Repetition final : public Recording {
 public:
  explicit Repetition(std::function<Status()> work) : work_(std::move(work)) {}
  Status run() override { return work_(); }

 private:
  std::function<Status()> work_;
};

}  // namespace

Result<double> Backend::read_bandwidth() {
  return unavailable("device " + properties().name + " has no measurement of its bandwidth");
}

Result<std::unique_ptr<Recording>> Backend::record(std::function<Status()> work) {
  return std::unique_ptr<Recording>(std::make_unique<Repetition>(std::move(work)));
}

void Backend::project(const ProjectArgs& args) {
  srmsnorm(args.x, args.eps, args.normed);
  matmul(MatmulForm::kNT, 1.0, args.normed, args.weights, 0.0, args.split.projection);
  if (args.gate_low.given()) {
    matmul(MatmulForm::kNT, 1.0, args.normed, args.gate_down, 0.0, args.gate_low);
  }
  split(args.split);
}

void Backend::gate_onto(GateKind kind, const Matrix& o, const Matrix& u, double eps,
                        const Matrix& gated, const Matrix& weights, const Matrix& residual,
                        const Matrix& out) {
  norm_gate(kind, o, u, eps, gated);
  matmul_onto(residual, gated, weights, out);
}

void Backend::norm_glu(const Matrix& x, double eps, const Matrix& normed, const Matrix& weights,
                       const Matrix& both, const Matrix& product_of_both) {
  norm_matmul(x, eps, normed, weights, both);
  if (!product_of_both.given()) return;
  const std::int64_t width = both.cols / 2;
  product(both.columns(0, width), both.columns(width, width), product_of_both);
}

void Backend::norm_matmul(const Matrix& x, double eps, const Matrix& normed, const Matrix& weights,
                          const Matrix& y) {
  srmsnorm(x, eps, normed);
  matmul(MatmulForm::kNT, 1.0, normed, weights, 0.0, y);
}

}  // namespace tnl
