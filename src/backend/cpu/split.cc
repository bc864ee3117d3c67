// The fused projection's split with SiLU, LRPE and padding, and its gradient (docs/math.md).
#include <cmath>
#include <cstring>
#include <numbers>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/float_rows.h"
#include "core/convert.h"

namespace tnl {
namespace {

using cpu::row;

// cos(θ p) and sin(θ p) of all columns at one position; the phase is reduced in fp64, since θ p
// passes 2π many times in a long text.
void fill_phases(const double* theta, std::int64_t width, std::int64_t position, float* cosine,
                 float* sine) {
  for (std::int64_t c = 0; c < width; ++c) {
    const double phase =
        std::fmod(theta[c] * static_cast<double>(position), 2.0 * std::numbers::pi);
    cosine[c] = static_cast<float>(std::cos(phase));
    sine[c] = static_cast<float>(std::sin(phase));
  }
}

std::vector<double> theta_of(const SplitArgs& args) {
  std::vector<double> theta;
  if (args.theta == nullptr) return theta;
  theta.resize(static_cast<std::size_t>(args.heads * args.head_dim));
  convert(args.theta, args.theta_dtype, theta.data(), DType::kF64,
          static_cast<std::int64_t>(theta.size()));
  return theta;
}

bool masked(const SplitArgs& args, std::int64_t token) {
  return !args.mask.empty() && args.mask[token] == 0;
}

}  // namespace

// phases: [cosines | sines | room for the activated row], or nullptr without LRPE.
void CpuBackend::split_row(const SplitArgs& args, const float* in, float* phases, float* out) {
  const std::int64_t width = args.heads * args.head_dim;
  if (phases == nullptr) {
    if (args.silu_qk) {
      rows_.silu(in, out, width);
    } else {
      std::memcpy(out, in, static_cast<std::size_t>(width) * sizeof(float));
    }
    return;
  }
  const float* x = in;
  if (args.silu_qk) {
    rows_.silu(in, phases + 2 * width, width);
    x = phases + 2 * width;
  }
  for (std::int64_t h = 0; h < args.heads; ++h) {
    const std::int64_t first = h * args.head_dim;
    float* head = out + 2 * first;
    rows_.rotate(x + first, phases + first, phases + width + first, head, head + args.head_dim,
                 args.head_dim);
  }
}

void CpuBackend::split(const SplitArgs& args) {
  const std::int64_t width = args.heads * args.head_dim;
  const std::vector<double> theta = theta_of(args);
  constexpr std::int64_t kGrain = 8;
  pool_.split(args.projection.rows, kGrain, [&](std::int64_t begin, std::int64_t end, int worker) {
    float* phases = theta.empty() ? nullptr : scratch(worker, 3 * width);
    for (std::int64_t t = begin; t < end; ++t) {
      const float* y = row(args.projection, t);
      if (phases != nullptr) {
        fill_phases(theta.data(), width, args.positions[t], phases, phases + width);
      }
      split_row(args, y, phases, row(args.q, t));
      split_row(args, y + width, phases, row(args.k, t));
      float* v = row(args.v, t);
      if (masked(args, t)) {
        std::memset(v, 0, static_cast<std::size_t>(width) * sizeof(float));
      } else if (args.silu_v) {
        rows_.silu(y + 2 * width, v, width);
      } else {
        std::memcpy(v, y + 2 * width, static_cast<std::size_t>(width) * sizeof(float));
      }
    }
  });
}

// d_theta += position * d_phase; `work`: [cosines | sines | activated row | d of it | d_phase].
void CpuBackend::split_row_backward(const SplitArgs& args, const float* in, const float* d_out,
                                    std::int64_t position, float* work, float* d_in,
                                    double* d_theta) {
  const std::int64_t width = args.heads * args.head_dim;
  const float* d_activated = d_out;
  if (work != nullptr) {
    float* activated = work + 2 * width;
    float* d_row = work + 3 * width;
    float* d_phase = work + 4 * width;
    if (args.silu_qk) {
      rows_.silu(in, activated, width);
    } else {
      std::memcpy(activated, in, static_cast<std::size_t>(width) * sizeof(float));
    }
    std::memset(d_phase, 0, static_cast<std::size_t>(width) * sizeof(float));
    for (std::int64_t h = 0; h < args.heads; ++h) {
      const std::int64_t first = h * args.head_dim;
      const float* head = d_out + 2 * first;
      rows_.rotate_backward(activated + first, work + first, work + width + first, head,
                            head + args.head_dim, d_row + first, d_phase + first, args.head_dim);
    }
    for (std::int64_t c = 0; c < width; ++c) {
      d_theta[c] += static_cast<double>(position) * static_cast<double>(d_phase[c]);
    }
    d_activated = d_row;
  }
  if (args.silu_qk) {
    rows_.silu_backward(in, d_activated, d_in, width);
  } else {
    std::memcpy(d_in, d_activated, static_cast<std::size_t>(width) * sizeof(float));
  }
}

void CpuBackend::split_backward(const SplitArgs& args, const Matrix& d_projection,
                                const Matrix& d_theta) {
  const std::int64_t width = args.heads * args.head_dim;
  const std::vector<double> theta = theta_of(args);
  // Blocks of a fixed number of tokens, added in order: d_theta does not depend on the threads.
  constexpr std::int64_t kBlock = 64;
  const std::int64_t tokens = args.projection.rows;
  const std::int64_t blocks = (tokens + kBlock - 1) / kBlock;
  std::vector<double> sums(theta.empty() ? 0 : static_cast<std::size_t>(blocks * width));
  pool_.run(blocks, [&](std::int64_t block, int worker) {
    float* work = theta.empty() ? nullptr : scratch(worker, 5 * width);
    double* sum = theta.empty() ? nullptr : sums.data() + block * width;
    for (std::int64_t t = block * kBlock; t < std::min(tokens, (block + 1) * kBlock); ++t) {
      const float* y = row(args.projection, t);
      float* d_y = row(d_projection, t);
      const std::int64_t position = work == nullptr ? 0 : args.positions[t];
      if (work != nullptr) fill_phases(theta.data(), width, position, work, work + width);
      split_row_backward(args, y, row(args.q, t), position, work, d_y, sum);
      split_row_backward(args, y + width, row(args.k, t), position, work, d_y + width, sum);
      float* d_v = d_y + 2 * width;
      if (masked(args, t)) {
        std::memset(d_v, 0, static_cast<std::size_t>(width) * sizeof(float));
      } else if (args.silu_v) {
        rows_.silu_backward(y + 2 * width, row(args.v, t), d_v, width);
      } else {
        std::memcpy(d_v, row(args.v, t), static_cast<std::size_t>(width) * sizeof(float));
      }
    }
  });
  if (theta.empty()) return;
  float* out = row(d_theta, 0);
  for (std::int64_t c = 0; c < width; ++c) {
    double total = 0;
    for (std::int64_t block = 0; block < blocks; ++block) total += sums[block * width + c];
    out[c] += static_cast<float>(total);
  }
}

}  // namespace tnl
