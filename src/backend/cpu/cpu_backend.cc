#include "backend/cpu/cpu_backend.h"

#include <cmath>
#include <cstring>

#include "backend/cpu/attention.h"
#include "backend/cpu/float_rows.h"
#include "core/check.h"

namespace tnl {
namespace {

using cpu::row;

const cpu::RowKernels& find_rows(const std::string& target) {
#if defined(__x86_64__)
  if (target == "avx512") return avx512::kRowKernels;
  if (target == "avx2") return avx2::kRowKernels;
#endif
  TNL_CHECK(target == "generic");
  return generic::kRowKernels;
}

}  // namespace

std::unique_ptr<Backend> make_cpu_backend(const DeviceProperties& properties) {
  return std::make_unique<CpuBackend>(properties);
}

CpuBackend::CpuBackend(const DeviceProperties& properties)
    : properties_(properties),
      pool_(properties.threads),
      rows_(find_rows(properties.cpu_target)),
      scratch_(static_cast<std::size_t>(properties.threads)) {}

void CpuBackend::copy(const Matrix& from, const Matrix& to) {
  TNL_CHECK(from.rows == to.rows && from.cols == to.cols);
  for_rows(from.rows, from.cols, [&](std::int64_t t) {
    std::memmove(row(to, t), row(from, t), static_cast<std::size_t>(from.cols) * sizeof(float));
  });
}

void CpuBackend::embed(const Matrix& table, std::span<const std::int32_t> ids, double scale,
                       const Matrix& out) {
  const std::int64_t row_bytes = table.row_stride * dtype_size(table.dtype);
  for_rows(out.rows, out.cols, [&](std::int64_t t) {
    rows_.widen(static_cast<const char*>(table.data) + ids[t] * row_bytes, table.dtype,
                static_cast<float>(scale), row(out, t), out.cols);
  });
}

// Threads own columns, so that every row of the table is summed in token order.
void CpuBackend::embed_backward(const Matrix& d_out, std::span<const std::int32_t> ids,
                                double scale, std::int64_t skip_id, const Matrix& d_table) {
  constexpr std::int64_t kGrain = 64;
  pool_.split(d_out.cols, kGrain, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t t = 0; t < d_out.rows; ++t) {
      if (ids[t] == skip_id) continue;
      rows_.add_scaled(row(d_out, t) + begin, static_cast<float>(scale),
                       row(d_table, ids[t]) + begin, end - begin);
    }
  });
}

void CpuBackend::srmsnorm(const Matrix& x, double eps, const Matrix& y) {
  for_rows(x.rows, x.cols, [&](std::int64_t t) {
    rows_.srmsnorm(row(x, t), static_cast<float>(eps), row(y, t), x.cols);
  });
}

void CpuBackend::srmsnorm_backward(const Matrix& x, const Matrix& dy, double eps, bool accumulate,
                                   const Matrix& dx) {
  for_rows(x.rows, x.cols, [&](std::int64_t t) {
    rows_.srmsnorm_backward(row(x, t), row(dy, t), static_cast<float>(eps), accumulate, row(dx, t),
                            x.cols);
  });
}

void CpuBackend::norm_gate(GateKind kind, const Matrix& o, const Matrix& u, double eps,
                           const Matrix& y) {
  for_rows(o.rows, o.cols, [&](std::int64_t t) {
    rows_.norm_gate(kind == GateKind::kSigmoid, row(o, t), row(u, t), static_cast<float>(eps),
                    row(y, t), o.cols);
  });
}

void CpuBackend::norm_gate_backward(GateKind kind, const Matrix& o, const Matrix& u,
                                    const Matrix& dy, double eps, const Matrix& d_o,
                                    const Matrix& d_u) {
  for_rows(o.rows, o.cols, [&](std::int64_t t) {
    rows_.norm_gate_backward(kind == GateKind::kSigmoid, row(o, t), row(u, t), row(dy, t),
                             static_cast<float>(eps), row(d_o, t), row(d_u, t), o.cols);
  });
}

void CpuBackend::product(const Matrix& a, const Matrix& b, const Matrix& y) {
  for_rows(a.rows, a.cols,
           [&](std::int64_t t) { rows_.product(row(a, t), row(b, t), row(y, t), a.cols); });
}

void CpuBackend::product_backward(const Matrix& a, const Matrix& b, const Matrix& dy,
                                  const Matrix& da, const Matrix& db) {
  for_rows(a.rows, a.cols, [&](std::int64_t t) {
    rows_.product_backward(row(a, t), row(b, t), row(dy, t), row(da, t), row(db, t), a.cols);
  });
}

void CpuBackend::cross_entropy(const Matrix& logits, std::span<const std::int32_t> targets,
                               double d_scale, std::span<double> losses) {
  for_rows(logits.rows, logits.cols, [&](std::int64_t t) {
    float* z = row(logits, t);
    const std::int32_t target = targets[t];
    losses[t] = 0;
    if (target < 0) {
      if (d_scale != 0) std::memset(z, 0, static_cast<std::size_t>(logits.cols) * sizeof(float));
      return;
    }
    const float most = rows_.most(z, logits.cols);
    const double log_sum = most + std::log(rows_.sum_exp(z, most, logits.cols));
    losses[t] = log_sum - z[target];
    if (d_scale == 0) return;
    rows_.softmax(z, static_cast<float>(log_sum), static_cast<float>(d_scale), logits.cols);
    z[target] -= static_cast<float>(d_scale);
  });
}

Status CpuBackend::attention(const AttentionProblem& problem, const std::string& kernel,
                             std::int64_t chunk, std::int64_t value_slice, void* workspace) {
  return cpu::attention(problem, pool_, kernel, chunk, value_slice, workspace);
}

Status CpuBackend::attention_step(const AttentionProblem& problem,
                                  std::span<const std::int64_t> slots, const std::string& kernel) {
  return cpu::attention_step(problem, pool_, slots, kernel);
}

void CpuBackend::adamw(const AdamWArgs& args) {
  const double step = static_cast<double>(args.step);
  const cpu::AdamWBlock block = {
      .learning_rate = args.learning_rate,
      .beta1 = args.beta1,
      .beta2 = args.beta2,
      .epsilon = args.epsilon,
      .weight_decay = args.weight_decay,
      .gradient_scale = args.gradient_scale,
      .correction1 = static_cast<float>(1 / (1 - std::pow(double{args.beta1}, step))),
      .correction2 = static_cast<float>(1 / (1 - std::pow(double{args.beta2}, step)))};
  constexpr std::int64_t kGrain = 65536;
  pool_.split(static_cast<std::int64_t>(args.parameters.size()), kGrain,
              [&](std::int64_t begin, std::int64_t end, int) {
                rows_.adamw(args.parameters.data() + begin, args.gradients.data() + begin,
                            args.first_moment.data() + begin, args.second_moment.data() + begin,
                            end - begin, block);
              });
}

double CpuBackend::sum_of_squares(std::span<const float> values) {
  // Blocks of a fixed size, added in order: the sum does not depend on the threads.
  constexpr std::int64_t kBlock = 65536;
  const auto count = static_cast<std::int64_t>(values.size());
  std::vector<double> sums(static_cast<std::size_t>((count + kBlock - 1) / kBlock));
  pool_.run(static_cast<std::int64_t>(sums.size()), [&](std::int64_t block, int) {
    const std::int64_t begin = block * kBlock;
    sums[block] = rows_.sum_of_squares(values.data() + begin, std::min(kBlock, count - begin));
  });
  double total = 0;
  for (const double sum : sums) total += sum;
  return total;
}

float* CpuBackend::scratch(int worker, std::int64_t elements) {
  Buffer& buffer = scratch_[worker];
  const auto bytes = static_cast<std::size_t>(elements) * sizeof(float);
  if (buffer.bytes() < bytes) {
    auto larger = Buffer::allocate(bytes, "scratch of the CPU backend");
    TNL_CHECK(larger.ok());
    buffer = std::move(larger).value();
  }
  return static_cast<float*>(buffer.data());
}

}  // namespace tnl
