#include "backend/cpu/cpu_backend.h"

#include <cstring>

#include "backend/cpu/attention.h"
#include "backend/cpu/rows.h"

namespace tnl {

using cpu::is_f32;
using cpu::row;

namespace {

const cpu::Kernels& find_kernels(const std::string& target) {
#if defined(__x86_64__)
  if (target == "avx512") return avx512::kKernels;
  if (target == "avx2") return avx2::kKernels;
#endif
  TNL_CHECK(target == "generic");
  return generic::kKernels;
}

}  // namespace

CpuBackend::CpuBackend(const DeviceProperties& properties)
    : properties_(properties),
      kernels_(find_kernels(properties.cpu_target)),
      pool_(properties.threads) {}

void CpuBackend::copy(const Matrix& from, const Matrix& to) {
  TNL_CHECK(is_f32(from, to.rows, to.cols) && is_f32(to, to.rows, to.cols));
  for_rows(to.rows, to.cols, [&](std::int64_t t) {
    std::memmove(row(to, t), row(from, t), static_cast<std::size_t>(to.cols) * sizeof(float));
  });
}

void CpuBackend::zero(void* data, std::size_t bytes) {
  if (bytes > 0) std::memset(data, 0, bytes);
}

void CpuBackend::srmsnorm(const Matrix& x, double eps, const Matrix& y) {
  TNL_CHECK(is_f32(x, y.rows, y.cols) && is_f32(y, y.rows, y.cols));
  for_rows(y.rows, y.cols,
           [&](std::int64_t t) { kernels_.srmsnorm(row(x, t), y.cols, eps, row(y, t)); });
}

void CpuBackend::srmsnorm_backward(const Matrix& x, const Matrix& dy, double eps, bool accumulate,
                                   const Matrix& dx, const Matrix& y) {
  if (y.given()) srmsnorm(x, eps, y);
  TNL_CHECK(is_f32(x, dx.rows, dx.cols) && is_f32(dy, dx.rows, dx.cols) &&
            is_f32(dx, dx.rows, dx.cols));
  for_rows(dx.rows, dx.cols, [&](std::int64_t t) {
    kernels_.srmsnorm_backward(row(x, t), row(dy, t), dx.cols, eps, accumulate, row(dx, t));
  });
}

void CpuBackend::norm_gate(GateKind kind, const Matrix& o, const Matrix& u, double eps,
                           const Matrix& y) {
  TNL_CHECK(is_f32(o, y.rows, y.cols) && is_f32(u, y.rows, y.cols) && is_f32(y, y.rows, y.cols));
  for_rows(y.rows, y.cols, [&](std::int64_t t) {
    kernels_.norm_gate(kind == GateKind::kSigmoid, row(o, t), row(u, t), y.cols, eps, row(y, t));
  });
}

void CpuBackend::norm_gate_backward(GateKind kind, const Matrix& o, const Matrix& u,
                                    const Matrix& dy, double eps, const Matrix& d_o,
                                    const Matrix& d_u, const Matrix& y) {
  if (y.given()) norm_gate(kind, o, u, eps, y);
  TNL_CHECK(is_f32(o, dy.rows, dy.cols) && is_f32(u, dy.rows, dy.cols) &&
            is_f32(dy, dy.rows, dy.cols));
  TNL_CHECK(is_f32(d_o, dy.rows, dy.cols) && is_f32(d_u, dy.rows, dy.cols));
  for_rows(dy.rows, dy.cols, [&](std::int64_t t) {
    kernels_.norm_gate_backward(kind == GateKind::kSigmoid, row(o, t), row(u, t), row(dy, t),
                                dy.cols, eps, row(d_o, t), row(d_u, t));
  });
}

void CpuBackend::product(const Matrix& a, const Matrix& b, const Matrix& y) {
  TNL_CHECK(is_f32(a, y.rows, y.cols) && is_f32(b, y.rows, y.cols) && is_f32(y, y.rows, y.cols));
  for_rows(y.rows, y.cols,
           [&](std::int64_t t) { kernels_.product(row(a, t), row(b, t), y.cols, row(y, t)); });
}

void CpuBackend::product_backward(const Matrix& a, const Matrix& b, const Matrix& dy,
                                  const Matrix& da, const Matrix& db, const Matrix& y) {
  if (y.given()) product(a, b, y);
  TNL_CHECK(is_f32(a, dy.rows, dy.cols) && is_f32(b, dy.rows, dy.cols) &&
            is_f32(dy, dy.rows, dy.cols));
  TNL_CHECK(is_f32(da, dy.rows, dy.cols) && is_f32(db, dy.rows, dy.cols));
  for_rows(dy.rows, dy.cols, [&](std::int64_t t) {
    kernels_.product_backward(row(a, t), row(b, t), row(dy, t), dy.cols, row(da, t), row(db, t));
  });
}

Status CpuBackend::attention(std::span<const AttentionProblem> problems, const AttentionPlan& plan,
                             void* workspace, Stream) {
  return cpu::attention(problems, plan, pool_, workspace);
}

Status CpuBackend::attention_step(const AttentionProblem& problem, const AttentionStep& step,
                                  const std::string& kernel, Stream) {
  return cpu::attention_step(problem, step, pool_, kernel);
}

std::unique_ptr<Backend> make_cpu_backend(const DeviceProperties& properties) {
  return std::make_unique<CpuBackend>(properties);
}

}  // namespace tnl
