// Matrix products: oneDNN's sgemm, each thread on its own part of the result with one OpenMP thread
// a call; a handful of rows (decoding) goes through dot products that read the weights once.
#include <dnnl.h>
#include <omp.h>

#include <algorithm>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/float_rows.h"
#include "core/check.h"

namespace tnl {
namespace {

using cpu::row;

constexpr std::int64_t kFewRows = 4;

std::int64_t inner_extent(MatmulForm form, const Matrix& a) {
  return form == MatmulForm::kTN ? a.rows : a.cols;
}

void check_shapes(MatmulForm form, const Matrix& a, const Matrix& b, const Matrix& c) {
  TNL_CHECK(a.dtype == DType::kF32 && c.dtype == DType::kF32);
  TNL_CHECK(c.rows == (form == MatmulForm::kTN ? a.cols : a.rows));
  TNL_CHECK(c.cols == (form == MatmulForm::kNT ? b.rows : b.cols));
  TNL_CHECK(inner_extent(form, a) == (form == MatmulForm::kNT ? b.cols : b.rows));
  TNL_CHECK(b.dtype == DType::kF32 || b.dtype == DType::kBF16 || b.dtype == DType::kF16);
}

// Rows [first, first + count) of op(A), and columns of op(B).
Matrix part_of_a(MatmulForm form, const Matrix& a, std::int64_t first, std::int64_t count) {
  return form == MatmulForm::kTN ? a.columns(first, count) : a.row_block(first, count);
}
Matrix part_of_b(MatmulForm form, const Matrix& b, std::int64_t first, std::int64_t count) {
  return form == MatmulForm::kNT ? b.row_block(first, count) : b.columns(first, count);
}

}  // namespace

void CpuBackend::matmul(MatmulForm form, double alpha, const Matrix& a, const Matrix& b,
                        double beta, const Matrix& c) {
  check_shapes(form, a, b, c);
  if (c.rows == 0 || c.cols == 0) return;
  if (form == MatmulForm::kNT && c.rows <= kFewRows) return few_rows_matmul(alpha, a, b, beta, c);
  // Split the longer side of the result, never the inner extent: sums keep their order. A stored
  // 16-bit B is split by columns, so that each of its panels is widened once.
  const bool by_rows = b.dtype == DType::kF32 && c.rows >= c.cols;
  constexpr std::int64_t kGrain = 32;
  pool_.split(by_rows ? c.rows : c.cols, kGrain,
              [&](std::int64_t begin, std::int64_t end, int worker) {
                const std::int64_t count = end - begin;
                if (by_rows) {
                  gemm(form, alpha, part_of_a(form, a, begin, count), b, beta,
                       c.row_block(begin, count), worker);
                } else {
                  gemm(form, alpha, a, part_of_b(form, b, begin, count), beta,
                       c.columns(begin, count), worker);
                }
              });
}

void CpuBackend::gemm(MatmulForm form, double alpha, const Matrix& a, const Matrix& b, double beta,
                      const Matrix& c, int worker) {
  if (b.dtype != DType::kF32) {  // widen B in panels that stay in the cache
    constexpr std::int64_t kPanelElements = std::int64_t{1} << 18;
    const std::int64_t inner = inner_extent(form, a);
    const std::int64_t panel =
        std::max<std::int64_t>(16, kPanelElements / std::max<std::int64_t>(inner, 1));
    for (std::int64_t first = 0; first < c.cols; first += panel) {
      const std::int64_t count = std::min(panel, c.cols - first);
      const Matrix stored = part_of_b(form, b, first, count);
      const Matrix wide = Matrix::contiguous(scratch(worker, stored.rows * stored.cols),
                                             DType::kF32, stored.rows, stored.cols);
      for (std::int64_t r = 0; r < stored.rows; ++r) {
        rows_.widen(static_cast<const char*>(stored.data) +
                        r * stored.row_stride * dtype_size(stored.dtype),
                    stored.dtype, 1.0f, row(wide, r), stored.cols);
      }
      gemm(form, alpha, a, wide, beta, c.columns(first, count), worker);
    }
    return;
  }
  omp_set_num_threads(1);  // of this thread: the pool does the spreading
  const dnnl_status_t status =
      dnnl_sgemm(form == MatmulForm::kTN ? 'T' : 'N', form == MatmulForm::kNT ? 'T' : 'N', c.rows,
                 c.cols, inner_extent(form, a), static_cast<float>(alpha),
                 static_cast<const float*>(a.data), a.row_stride, static_cast<const float*>(b.data),
                 b.row_stride, static_cast<float>(beta), static_cast<float*>(c.data), c.row_stride);
  TNL_CHECK(status == dnnl_success);
}

void CpuBackend::few_rows_matmul(double alpha, const Matrix& a, const Matrix& b, double beta,
                                 const Matrix& c) {
  const std::int64_t b_bytes = b.row_stride * dtype_size(b.dtype);
  for_rows(b.rows, b.cols, [&](std::int64_t j) {
    float sums[kFewRows];
    rows_.dot(row(a, 0), a.row_stride, a.rows, static_cast<const char*>(b.data) + j * b_bytes,
              b.dtype, b.cols, sums);
    for (std::int64_t i = 0; i < c.rows; ++i) {
      float& out = row(c, i)[j];
      out =
          static_cast<float>(alpha) * sums[i] + (beta == 0 ? 0.0f : static_cast<float>(beta) * out);
    }
  });
}

}  // namespace tnl
