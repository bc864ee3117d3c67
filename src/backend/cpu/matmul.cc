// Matrix products: oneDNN's sgemm with one OpenMP thread a call, the output split among our
// threads, never the summed axis. Few rows against stored weights go to our own kernel.
#include <oneapi/dnnl/dnnl.h>

#include <algorithm>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/rows.h"
#include "core/signals.h"

// From libgomp, which oneDNN is built on; clang does not find the header of it.
extern "C" {
int omp_get_max_threads();
void omp_set_num_threads(int threads);
}

namespace tnl {
namespace {

// The thread count of OpenMP belongs to the calling thread; what the caller had comes back.
class OneOpenMpThread {
 public:
  OneOpenMpThread() : before_(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~OneOpenMpThread() { omp_set_num_threads(before_); }
  OneOpenMpThread(const OneOpenMpThread&) = delete;
  OneOpenMpThread& operator=(const OneOpenMpThread&) = delete;

 private:
  int before_;
};

struct Product {
  MatmulForm form;
  float alpha, beta;
  Matrix a, b, c;

  std::int64_t depth() const { return form == MatmulForm::kTN ? a.rows : a.cols; }
  Product rows(std::int64_t first, std::int64_t count) const;
  Product cols(std::int64_t first, std::int64_t count) const;
};

Product Product::rows(std::int64_t first, std::int64_t count) const {
  Product part = *this;
  part.a = form == MatmulForm::kTN ? a.columns(first, count) : a.row_block(first, count);
  part.c = c.row_block(first, count);
  return part;
}

Product Product::cols(std::int64_t first, std::int64_t count) const {
  Product part = *this;
  part.b = form == MatmulForm::kNT ? b.row_block(first, count) : b.columns(first, count);
  part.c = c.columns(first, count);
  return part;
}

void sgemm(const Product& p) {
  const OneOpenMpThread one_thread;
  // Some of its kernels keep values below the stack pointer, where the kernel of the operating
  // system puts the frame of a signal's handler.
  const SignalsHeld undisturbed;
  const dnnl_status_t status =
      dnnl_sgemm(p.form == MatmulForm::kTN ? 'T' : 'N', p.form == MatmulForm::kNT ? 'T' : 'N',
                 p.c.rows, p.c.cols, p.depth(), p.alpha, static_cast<const float*>(p.a.data),
                 p.a.row_stride, static_cast<const float*>(p.b.data), p.b.row_stride, p.beta,
                 static_cast<float*>(p.c.data), p.c.row_stride);
  TNL_CHECK(status == dnnl_success);
}

// Weights stored in 16 bits: panel by panel into `scratch`, then as fp32.
void sgemm_widened(const Product& p, const cpu::Kernels& kernels, float* scratch,
                   std::int64_t scratch_floats) {
  const std::int64_t panel = std::max<std::int64_t>(1, scratch_floats / p.depth());
  for (std::int64_t first = 0; first < p.c.cols; first += panel) {
    Product part = p.cols(first, std::min(panel, p.c.cols - first));
    const Matrix wide = Matrix::contiguous(scratch, DType::kF32, part.b.rows, part.b.cols);
    for (std::int64_t r = 0; r < wide.rows; ++r) {
      kernels.widen(cpu::stored_row(part.b, r), part.b.dtype, wide.cols, 1.0f, cpu::row(wide, r));
    }
    part.b = wide;
    sgemm(part);
  }
}

void scale(const Matrix& c, float beta) {
  for (std::int64_t m = 0; m < c.rows; ++m) {
    float* values = cpu::row(c, m);
    for (std::int64_t n = 0; n < c.cols; ++n) values[n] = beta == 0 ? 0.0f : beta * values[n];
  }
}

// Rows of A up to which our kernel, which packs nothing, was measured to be the faster one.
constexpr std::int64_t kGemvRows = 16;
// Floats of widened weights a thread holds: half of a usual second-level cache.
constexpr std::int64_t kPanelFloats = 128 * 1024;

}  // namespace

void CpuBackend::gemv(double alpha, const Matrix& a, const Matrix& b, double beta,
                      const Matrix& c) {
  constexpr std::int64_t kGrainBytes = 32 * 1024;
  const auto piece = [&](std::int64_t begin, std::int64_t end, int) {
    kernels_.gemv({.a = cpu::row(a, 0),
                   .a_stride = a.row_stride,
                   .a_rows = a.rows,
                   .b = cpu::stored_row(b, begin),
                   .b_dtype = b.dtype,
                   .b_stride = b.row_stride,
                   .b_rows = end - begin,
                   .depth = b.cols,
                   .alpha = static_cast<float>(alpha),
                   .beta = static_cast<float>(beta),
                   .c = cpu::row(c, 0) + begin,
                   .c_stride = c.row_stride});
  };
  pool_.split(b.rows, kGrainBytes / (b.cols * dtype_size(b.dtype)) + 1, std::ref(piece));
}

std::int64_t CpuBackend::most_invariant_rows() const {
  return kGemvRows;
}

void CpuBackend::matmul(MatmulForm form, double alpha, const Matrix& a, const Matrix& b,
                        double beta, const Matrix& c) {
  const Product product{form, static_cast<float>(alpha), static_cast<float>(beta), a, b, c};
  const std::int64_t depth = product.depth();
  TNL_CHECK(a.dtype == DType::kF32 && c.dtype == DType::kF32);
  TNL_CHECK(b.dtype == DType::kF32 || b.dtype == DType::kBF16 || b.dtype == DType::kF16);
  TNL_CHECK(c.rows == (form == MatmulForm::kTN ? a.cols : a.rows));
  TNL_CHECK(c.cols == (form == MatmulForm::kNT ? b.rows : b.cols));
  TNL_CHECK(depth == (form == MatmulForm::kNT ? b.cols : b.rows));
  if (c.rows == 0 || c.cols == 0) return;
  if (depth == 0) return scale(c, product.beta);
  if (form == MatmulForm::kNT && c.rows <= kGemvRows) return gemv(alpha, a, b, beta, c);

  const bool widen = b.dtype != DType::kF32;
  const std::int64_t scratch_floats = std::max(kPanelFloats, depth);
  float* scratch = widen ? reserve<float>(widened_, scratch_floats * pool_.threads()) : nullptr;
  // Whole vectors to every thread, and no thread for less than about 10 microseconds of work.
  constexpr std::int64_t kUnit = 16;
  constexpr std::int64_t kGrainFlops = 1 << 20;
  const bool by_rows = !widen && c.rows > c.cols;
  const std::int64_t extent = by_rows ? c.rows : c.cols;
  const std::int64_t unit_flops = 2 * kUnit * depth * (by_rows ? c.cols : c.rows);
  const auto piece = [&](std::int64_t begin, std::int64_t end, int worker) {
    const std::int64_t first = begin * kUnit;
    const std::int64_t count = std::min(end * kUnit, extent) - first;
    if (widen) {
      sgemm_widened(product.cols(first, count), kernels_, scratch + worker * scratch_floats,
                    scratch_floats);
    } else {
      sgemm(by_rows ? product.rows(first, count) : product.cols(first, count));
    }
  };
  pool_.split((extent + kUnit - 1) / kUnit, kGrainFlops / unit_flops + 1, std::ref(piece));
}

}  // namespace tnl
