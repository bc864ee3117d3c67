// SRMSNorm, gates and products, with their gradients (docs/math.md).
#include <cmath>
#include <vector>

#include "backend/reference/reference_backend.h"
#include "backend/reference/rows.h"

namespace tnl {

using reference::row;

namespace {

double sigmoid(double x) {
  return 1.0 / (1.0 + std::exp(-x));
}

double reciprocal_rms(const double* x, std::int64_t width, double eps) {
  double sum = 0;
  for (std::int64_t c = 0; c < width; ++c) sum += x[c] * x[c];
  return 1.0 / std::sqrt(sum / static_cast<double>(width) + eps);
}

// dx = r (dy - x̂ mean(x̂ dy)), added to `dx` where `accumulate`.
void norm_backward_row(const double* x, const double* dy, std::int64_t width, double eps,
                       bool accumulate, double* dx) {
  const double r = reciprocal_rms(x, width, eps);
  double mean = 0;
  for (std::int64_t c = 0; c < width; ++c) mean += x[c] * r * dy[c];
  mean /= static_cast<double>(width);
  for (std::int64_t c = 0; c < width; ++c) {
    const double value = r * (dy[c] - x[c] * r * mean);
    dx[c] = accumulate ? dx[c] + value : value;
  }
}

}  // namespace

void ReferenceBackend::srmsnorm(const Matrix& x, double eps, const Matrix& y) {
  for (std::int64_t t = 0; t < x.rows; ++t) {
    const double r = reciprocal_rms(row(x, t), x.cols, eps);
    for (std::int64_t c = 0; c < x.cols; ++c) row(y, t)[c] = r * row(x, t)[c];
  }
}

void ReferenceBackend::srmsnorm_backward(const Matrix& x, const Matrix& dy, double eps,
                                         bool accumulate, const Matrix& dx, const Matrix& y) {
  if (y.given()) srmsnorm(x, eps, y);
  for (std::int64_t t = 0; t < x.rows; ++t) {
    norm_backward_row(row(x, t), row(dy, t), x.cols, eps, accumulate, row(dx, t));
  }
}

void ReferenceBackend::norm_gate(GateKind kind, const Matrix& o, const Matrix& u, double eps,
                                 const Matrix& y) {
  for (std::int64_t t = 0; t < o.rows; ++t) {
    const double r = reciprocal_rms(row(o, t), o.cols, eps);
    for (std::int64_t c = 0; c < o.cols; ++c) {
      const double gate = kind == GateKind::kLinear ? row(u, t)[c] : sigmoid(row(u, t)[c]);
      row(y, t)[c] = gate * r * row(o, t)[c];
    }
  }
}

void ReferenceBackend::norm_gate_backward(GateKind kind, const Matrix& o, const Matrix& u,
                                          const Matrix& dy, double eps, const Matrix& d_o,
                                          const Matrix& d_u, const Matrix& y) {
  if (y.given()) norm_gate(kind, o, u, eps, y);
  std::vector<double> d_normed(static_cast<std::size_t>(o.cols));
  for (std::int64_t t = 0; t < o.rows; ++t) {
    const double r = reciprocal_rms(row(o, t), o.cols, eps);
    for (std::int64_t c = 0; c < o.cols; ++c) {
      const double gate = kind == GateKind::kLinear ? row(u, t)[c] : sigmoid(row(u, t)[c]);
      const double slope = kind == GateKind::kLinear ? 1.0 : gate * (1.0 - gate);
      d_normed[c] = gate * row(dy, t)[c];
      row(d_u, t)[c] = row(dy, t)[c] * r * row(o, t)[c] * slope;
    }
    norm_backward_row(row(o, t), d_normed.data(), o.cols, eps, /*accumulate=*/false, row(d_o, t));
  }
}

void ReferenceBackend::product(const Matrix& a, const Matrix& b, const Matrix& y) {
  for (std::int64_t t = 0; t < a.rows; ++t) {
    for (std::int64_t c = 0; c < a.cols; ++c) row(y, t)[c] = row(a, t)[c] * row(b, t)[c];
  }
}

void ReferenceBackend::product_backward(const Matrix& a, const Matrix& b, const Matrix& dy,
                                        const Matrix& da, const Matrix& db, const Matrix& y) {
  if (y.given()) product(a, b, y);
  for (std::int64_t t = 0; t < a.rows; ++t) {
    for (std::int64_t c = 0; c < a.cols; ++c) {
      const double gradient = row(dy, t)[c];
      const double left = row(a, t)[c];
      const double right = row(b, t)[c];
      row(da, t)[c] = gradient * right;
      row(db, t)[c] = gradient * left;
    }
  }
}

}  // namespace tnl
