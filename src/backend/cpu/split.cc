#include <algorithm>
#include <cstring>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/rows.h"

namespace tnl {
namespace {

using cpu::is_f32;
using cpu::row;

// Tokens whose part of d_theta is summed in fp32. Fixed, so the sum does not depend on threads.
constexpr std::int64_t kThetaBlock = 64;

void check(const SplitArgs& args) {
  const std::int64_t tokens = args.projection.rows;
  const std::int64_t width = args.heads * args.head_dim;
  const std::int64_t keys = args.theta != nullptr ? 2 * width : width;
  TNL_CHECK(args.projection.dtype == DType::kF32 && args.projection.cols >= 3 * width);
  TNL_CHECK(is_f32(args.q, tokens, keys) && is_f32(args.k, tokens, keys));
  TNL_CHECK(is_f32(args.v, tokens, width));
  TNL_CHECK(args.theta == nullptr || static_cast<std::int64_t>(args.positions.size()) == tokens);
  TNL_CHECK(args.mask.empty() || static_cast<std::int64_t>(args.mask.size()) == tokens);
}

bool masked(const SplitArgs& args, std::int64_t t) {
  return !args.mask.empty() && args.mask[t] == 0;
}

cpu::LrpeRows lrpe_rows(const SplitArgs& args, const float* theta, std::int64_t t) {
  const float* y = row(args.projection, t);
  return {.y_q = y,
          .y_k = y + args.heads * args.head_dim,
          .q = row(args.q, t),
          .k = row(args.k, t),
          .theta = theta,
          .heads = args.heads,
          .head_dim = args.head_dim,
          .position = static_cast<double>(args.positions[t]),
          .silu = args.silu_qk};
}

void activate(const cpu::Kernels& kernels, bool silu, const float* y, std::int64_t n, float* x) {
  if (silu) {
    kernels.silu(y, n, x);
  } else {
    std::memcpy(x, y, static_cast<std::size_t>(n) * sizeof(float));
  }
}

void activate_backward(const cpu::Kernels& kernels, bool silu, const float* y, const float* dx,
                       std::int64_t n, float* dy) {
  if (silu) {
    kernels.silu_backward(y, dx, n, dy);
  } else {
    std::memcpy(dy, dx, static_cast<std::size_t>(n) * sizeof(float));
  }
}

}  // namespace

const float* CpuBackend::widened_theta(const SplitArgs& args) {
  if (args.theta == nullptr) return nullptr;
  const std::int64_t width = args.heads * args.head_dim;
  TNL_CHECK(args.theta_dtype != DType::kF64);
  float* theta = reserve<float>(theta_, width);
  kernels_.widen(args.theta, args.theta_dtype, width, 1.0f, theta);
  return theta;
}

void CpuBackend::split(const SplitArgs& args) {
  check(args);
  const std::int64_t width = args.heads * args.head_dim;
  const float* theta = widened_theta(args);
  for_rows(args.projection.rows, 3 * width, [&](std::int64_t t) {
    const float* y = row(args.projection, t);
    if (theta != nullptr) {
      kernels_.lrpe(lrpe_rows(args, theta, t));
    } else {
      activate(kernels_, args.silu_qk, y, width, row(args.q, t));
      activate(kernels_, args.silu_qk, y + width, width, row(args.k, t));
    }
    float* v = row(args.v, t);
    if (masked(args, t)) {
      std::fill(v, v + width, 0.0f);
    } else {
      activate(kernels_, args.silu_v, y + 2 * width, width, v);
    }
  });
}

void CpuBackend::split_backward(const SplitArgs& args, const Matrix& d_projection,
                                const Matrix& d_theta) {
  check(args);
  const std::int64_t tokens = args.projection.rows;
  const std::int64_t width = args.heads * args.head_dim;
  TNL_CHECK(d_projection.dtype == DType::kF32 && d_projection.rows == tokens &&
            d_projection.cols >= 3 * width);
  const float* theta = widened_theta(args);
  TNL_CHECK(theta == nullptr || is_f32(d_theta, 1, width));
  const std::int64_t blocks = (tokens + kThetaBlock - 1) / kThetaBlock;
  float* partial = theta != nullptr ? reserve<float>(partial_sums_, blocks * width) : nullptr;

  const auto token = [&](std::int64_t t, float* theta_sum) {
    const float* y = row(args.projection, t);
    float* dy = row(d_projection, t);
    if (theta != nullptr) {
      kernels_.lrpe_backward(lrpe_rows(args, theta, t), dy, dy + width, theta_sum);
    } else {
      activate_backward(kernels_, args.silu_qk, y, row(args.q, t), width, dy);
      activate_backward(kernels_, args.silu_qk, y + width, row(args.k, t), width, dy + width);
    }
    if (masked(args, t)) {
      std::fill(dy + 2 * width, dy + 3 * width, 0.0f);
    } else {
      activate_backward(kernels_, args.silu_v, y + 2 * width, row(args.v, t), width,
                        dy + 2 * width);
    }
  };
  const auto block = [&](std::int64_t index, int) {
    float* theta_sum = theta != nullptr ? partial + index * width : nullptr;
    if (theta != nullptr) std::fill(theta_sum, theta_sum + width, 0.0f);
    const std::int64_t end = std::min(tokens, (index + 1) * kThetaBlock);
    for (std::int64_t t = index * kThetaBlock; t < end; ++t) token(t, theta_sum);
  };
  pool_.run(blocks, std::ref(block));

  if (theta == nullptr) return;
  for (std::int64_t i = 0; i < width; ++i) {
    double sum = 0;
    for (std::int64_t index = 0; index < blocks; ++index) sum += partial[index * width + i];
    row(d_theta, 0)[i] += static_cast<float>(sum);
  }
}

}  // namespace tnl
