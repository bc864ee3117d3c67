// Embedding, loss and optimiser.
#include <algorithm>
#include <cmath>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/rows.h"

namespace tnl {

using cpu::is_f32;
using cpu::row;

void CpuBackend::embed(const Matrix& table, std::span<const std::int32_t> ids, double scale,
                       const Matrix& out) {
  TNL_CHECK(is_f32(out, static_cast<std::int64_t>(ids.size()), table.cols));
  TNL_CHECK(table.dtype != DType::kF64);
  for_rows(out.rows, out.cols, [&](std::int64_t t) {
    TNL_CHECK(ids[t] >= 0 && ids[t] < table.rows);
    kernels_.widen(cpu::stored_row(table, ids[t]), table.dtype, out.cols, static_cast<float>(scale),
                   row(out, t));
  });
}

// Each thread owns columns and walks over all tokens, so every sum is in token order.
void CpuBackend::embed_backward(const Matrix& d_out, std::span<const std::int32_t> ids,
                                double scale, std::int64_t skip_id, const Matrix& d_table) {
  TNL_CHECK(is_f32(d_out, static_cast<std::int64_t>(ids.size()), d_table.cols));
  TNL_CHECK(d_table.dtype == DType::kF32);
  constexpr std::int64_t kLine = 16;
  const auto columns = [&](std::int64_t begin, std::int64_t end, int) {
    const std::int64_t first = begin * kLine;
    const std::int64_t count = std::min(end * kLine, d_out.cols) - first;
    for (std::int64_t t = 0; t < d_out.rows; ++t) {
      TNL_CHECK(ids[t] >= 0 && ids[t] < d_table.rows);
      if (ids[t] == skip_id) continue;
      kernels_.add_scaled(row(d_out, t) + first, count, static_cast<float>(scale),
                          row(d_table, ids[t]) + first);
    }
  };
  pool_.split((d_out.cols + kLine - 1) / kLine, 4, std::ref(columns));
}

void CpuBackend::cross_entropy(const Matrix& logits, std::span<const std::int32_t> targets,
                               const double* d_scale, std::span<double> losses) {
  TNL_CHECK(logits.dtype == DType::kF32);
  TNL_CHECK(static_cast<std::int64_t>(targets.size()) == logits.rows);
  TNL_CHECK(losses.size() == targets.size());
  for_rows(logits.rows, logits.cols, [&](std::int64_t t) {
    float* values = row(logits, t);
    TNL_CHECK(targets[t] < logits.cols);
    if (targets[t] >= 0) {
      losses[t] = kernels_.cross_entropy(values, logits.cols, targets[t], d_scale);
      return;
    }
    losses[t] = 0;
    if (d_scale != nullptr) std::fill(values, values + logits.cols, 0.0f);
  });
}

void CpuBackend::adamw(const AdamWArgs& args) {
  const auto count = static_cast<std::int64_t>(args.parameters.size());
  TNL_CHECK(args.gradients.size() == args.parameters.size() &&
            args.first_moment.size() == args.parameters.size() &&
            args.second_moment.size() == args.parameters.size() && args.step >= 1);
  const double step = static_cast<double>(args.step);
  const double first_bias = 1.0 - std::pow(double{args.beta1}, step);
  const double second_bias = 1.0 - std::pow(double{args.beta2}, step);
  const cpu::AdamWStep constants = {
      .gradient_scale = args.gradient_scale,
      .beta1 = args.beta1,
      .one_minus_beta1 = static_cast<float>(1.0 - double{args.beta1}),
      .beta2 = args.beta2,
      .one_minus_beta2 = static_cast<float>(1.0 - double{args.beta2}),
      .step_size = static_cast<float>(double{args.learning_rate} / first_bias),
      .inverse_second_bias = static_cast<float>(1.0 / second_bias),
      .epsilon = args.epsilon,
      .keep = static_cast<float>(1.0 - double{args.learning_rate} * args.weight_decay)};
  const auto piece = [&](std::int64_t begin, std::int64_t end, int) {
    kernels_.adamw(constants, end - begin, args.parameters.data() + begin,
                   args.gradients.data() + begin, args.first_moment.data() + begin,
                   args.second_moment.data() + begin);
  };
  pool_.split(count, 4096, std::ref(piece));
}

double CpuBackend::sum_of_squares(std::span<const float> values) {
  constexpr std::int64_t kBlock = 1 << 16;
  const auto count = static_cast<std::int64_t>(values.size());
  const std::int64_t blocks = (count + kBlock - 1) / kBlock;
  double* partial = reserve<double>(partial_sums_, blocks);
  const auto piece = [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t block = begin; block < end; ++block) {
      const std::int64_t first = block * kBlock;
      partial[block] =
          kernels_.sum_of_squares(values.data() + first, std::min(kBlock, count - first));
    }
  };
  pool_.split(blocks, 1, std::ref(piece));
  double sum = 0;
  for (std::int64_t block = 0; block < blocks; ++block) sum += partial[block];
  return sum;
}

}  // namespace tnl
