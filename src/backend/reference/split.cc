// The fused projection's split with SiLU, LRPE and padding (docs/math.md).
#include <cmath>
#include <numbers>

#include "backend/reference/reference_backend.h"
#include "backend/reference/rows.h"

namespace tnl {

using reference::row;

namespace {

double silu(double x) {
  return x / (1.0 + std::exp(-x));
}

double silu_slope(double x) {
  const double gate = 1.0 / (1.0 + std::exp(-x));
  return gate * (1.0 + x * (1.0 - gate));
}

double activate(bool on, double x) {
  return on ? silu(x) : x;
}
double activation_slope(bool on, double x) {
  return on ? silu_slope(x) : 1.0;
}

double phase(const SplitArgs& args, std::int64_t token, std::int64_t column) {
  double theta = 0;
  convert(static_cast<const char*>(args.theta) + column * dtype_size(args.theta_dtype),
          args.theta_dtype, &theta, DType::kF64, 1);
  return std::fmod(theta * static_cast<double>(args.positions[token]), 2.0 * std::numbers::pi);
}

bool masked(const SplitArgs& args, std::int64_t token) {
  return !args.mask.empty() && args.mask[token] == 0;
}

// Where column c = h D + j of a block goes in q or k: to h K + j, and with LRPE its sine to
// D behind that.
std::int64_t target_column(const SplitArgs& args, std::int64_t column) {
  if (args.theta == nullptr) return column;
  return column / args.head_dim * (2 * args.head_dim) + column % args.head_dim;
}

void split_row(const SplitArgs& args, std::int64_t token, const double* in, double* out) {
  for (std::int64_t c = 0; c < args.heads * args.head_dim; ++c) {
    const double x = activate(args.silu_qk, in[c]);
    double* target = out + target_column(args, c);
    if (args.theta == nullptr) {
      *target = x;
      continue;
    }
    const double angle = phase(args, token, c);
    target[0] = x * std::cos(angle);
    target[args.head_dim] = x * std::sin(angle);
  }
}

void split_row_backward(const SplitArgs& args, std::int64_t token, const double* in,
                        const double* d_out, double* d_in, double* d_theta) {
  for (std::int64_t c = 0; c < args.heads * args.head_dim; ++c) {
    const double* source = d_out + target_column(args, c);
    double dx = source[0];
    if (args.theta != nullptr) {
      const double angle = phase(args, token, c);
      const double sine = std::sin(angle);
      const double cosine = std::cos(angle);
      const double x = activate(args.silu_qk, in[c]);
      dx = source[0] * cosine + source[args.head_dim] * sine;
      d_theta[c] += x * static_cast<double>(args.positions[token]) *
                    (source[args.head_dim] * cosine - source[0] * sine);
    }
    d_in[c] = dx * activation_slope(args.silu_qk, in[c]);
  }
}

}  // namespace

void ReferenceBackend::split(const SplitArgs& args) {
  const std::int64_t width = args.heads * args.head_dim;
  for (std::int64_t t = 0; t < args.projection.rows; ++t) {
    const double* y = row(args.projection, t);
    split_row(args, t, y, row(args.q, t));
    split_row(args, t, y + width, row(args.k, t));
    for (std::int64_t c = 0; c < width; ++c) {
      row(args.v, t)[c] = masked(args, t) ? 0.0 : activate(args.silu_v, y[2 * width + c]);
    }
  }
}

void ReferenceBackend::split_backward(const SplitArgs& args, const Matrix& d_projection,
                                      const Matrix& d_theta) {
  const std::int64_t width = args.heads * args.head_dim;
  double* theta_sum = d_theta.given() ? row(d_theta, 0) : nullptr;
  for (std::int64_t t = 0; t < args.projection.rows; ++t) {
    const double* y = row(args.projection, t);
    double* d_y = row(d_projection, t);
    split_row_backward(args, t, y, row(args.q, t), d_y, theta_sum);
    split_row_backward(args, t, y + width, row(args.k, t), d_y + width, theta_sum);
    for (std::int64_t c = 0; c < width; ++c) {
      d_y[2 * width + c] =
          masked(args, t) ? 0.0
                          : row(args.v, t)[c] * activation_slope(args.silu_v, y[2 * width + c]);
    }
  }
}

}  // namespace tnl
