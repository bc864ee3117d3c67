#include "backend/reference/reference_backend.h"

#include <cmath>
#include <cstring>

#include "backend/reference/rows.h"

namespace tnl {

using reference::element;
using reference::row;

std::unique_ptr<Backend> make_reference_backend(const DeviceProperties& properties) {
  return std::make_unique<ReferenceBackend>(properties);
}

void ReferenceBackend::copy(const Matrix& from, const Matrix& to) {
  TNL_CHECK(from.rows == to.rows && from.cols == to.cols);
  for (std::int64_t r = 0; r < from.rows; ++r) {
    std::memmove(row(to, r), row(from, r), static_cast<std::size_t>(from.cols) * sizeof(double));
  }
}

void ReferenceBackend::zero(void* data, std::size_t bytes) {
  if (bytes > 0) std::memset(data, 0, bytes);
}

void ReferenceBackend::embed(const Matrix& table, std::span<const std::int32_t> ids, double scale,
                             const Matrix& out) {
  for (std::size_t t = 0; t < ids.size(); ++t) {
    for (std::int64_t c = 0; c < out.cols; ++c) {
      row(out, static_cast<std::int64_t>(t))[c] = scale * element(table, ids[t], c);
    }
  }
}

void ReferenceBackend::embed_backward(const Matrix& d_out, std::span<const std::int32_t> ids,
                                      double scale, std::int64_t skip_id, const Matrix& d_table) {
  for (std::size_t t = 0; t < ids.size(); ++t) {
    if (ids[t] == skip_id) continue;
    for (std::int64_t c = 0; c < d_out.cols; ++c) {
      row(d_table, ids[t])[c] += scale * row(d_out, static_cast<std::int64_t>(t))[c];
    }
  }
}

void ReferenceBackend::cross_entropy(const Matrix& logits, std::span<const std::int32_t> targets,
                                     const double* d_scale, std::span<double> losses) {
  for (std::int64_t t = 0; t < logits.rows; ++t) {
    double* z = row(logits, t);
    const std::int32_t target = targets[t];
    losses[t] = 0;
    if (target < 0) {
      if (d_scale != nullptr) std::fill_n(z, logits.cols, 0.0);
      continue;
    }
    double most = z[0];
    for (std::int64_t c = 1; c < logits.cols; ++c) most = std::max(most, z[c]);
    double sum = 0;
    for (std::int64_t c = 0; c < logits.cols; ++c) sum += std::exp(z[c] - most);
    const double log_sum = most + std::log(sum);
    losses[t] = log_sum - z[target];
    if (d_scale == nullptr) continue;
    for (std::int64_t c = 0; c < logits.cols; ++c) z[c] = *d_scale * std::exp(z[c] - log_sum);
    z[target] -= *d_scale;
  }
}

Status ReferenceBackend::attention(std::span<const AttentionProblem>, const AttentionPlan&, void*,
                                   Stream) {
  return internal_error("the reference backend has no attention kernels of its own");
}

Status ReferenceBackend::attention_step(const AttentionProblem&, const AttentionStep&,
                                        const std::string&, Stream) {
  return internal_error("the reference backend has no attention kernels of its own");
}

void ReferenceBackend::adamw(const AdamWArgs& args) {
  const double correction1 = 1 - std::pow(static_cast<double>(args.beta1), args.step);
  const double correction2 = 1 - std::pow(static_cast<double>(args.beta2), args.step);
  for (std::size_t i = 0; i < args.parameters.size(); ++i) {
    const double gradient = static_cast<double>(args.gradient_scale) * args.gradients[i];
    const double m = args.beta1 * args.first_moment[i] + (1.0 - args.beta1) * gradient;
    const double v = args.beta2 * args.second_moment[i] + (1.0 - args.beta2) * gradient * gradient;
    args.first_moment[i] = static_cast<float>(m);
    args.second_moment[i] = static_cast<float>(v);
    const double update = m / correction1 / (std::sqrt(v / correction2) + args.epsilon);
    const double kept = args.parameters[i] * (1.0 - args.learning_rate * args.weight_decay);
    args.parameters[i] = static_cast<float>(kept - args.learning_rate * update);
  }
}

double ReferenceBackend::sum_of_squares(std::span<const float> values) {
  double sum = 0;
  for (const float value : values) sum += static_cast<double>(value) * value;
  return sum;
}

}  // namespace tnl
