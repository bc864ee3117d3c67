#include <vector>

#include "backend/reference/reference_backend.h"
#include "backend/reference/rows.h"

namespace tnl {
namespace {

using reference::row;

void scale(const Matrix& c, double beta) {
  for (std::int64_t m = 0; m < c.rows; ++m) {
    double* values = row(c, m);
    for (std::int64_t n = 0; n < c.cols; ++n) values[n] = beta == 0 ? 0.0 : beta * values[n];
  }
}

}  // namespace

// B row by row, each widened once.
void ReferenceBackend::matmul(MatmulForm form, double alpha, const Matrix& a, const Matrix& b,
                              double beta, const Matrix& c) {
  const bool a_transposed = form == MatmulForm::kTN;
  const bool b_transposed = form == MatmulForm::kNT;
  const std::int64_t inner = a_transposed ? a.rows : a.cols;
  TNL_CHECK(c.rows == (a_transposed ? a.cols : a.rows));
  TNL_CHECK(c.cols == (b_transposed ? b.rows : b.cols));
  TNL_CHECK(inner == (b_transposed ? b.cols : b.rows));
  scale(c, beta);
  std::vector<double> b_row(static_cast<std::size_t>(b.cols));
  for (std::int64_t index = 0; index < b.rows; ++index) {
    convert(static_cast<const char*>(b.data) + index * b.row_stride * dtype_size(b.dtype), b.dtype,
            b_row.data(), DType::kF64, b.cols);
    for (std::int64_t m = 0; m < c.rows; ++m) {
      double* out = row(c, m);
      if (b_transposed) {
        const double* a_row = row(a, m);
        double sum = 0;
        for (std::int64_t k = 0; k < inner; ++k) sum += a_row[k] * b_row[k];
        out[index] += alpha * sum;
      } else {
        const double factor = alpha * (a_transposed ? row(a, index)[m] : row(a, m)[index]);
        for (std::int64_t n = 0; n < c.cols; ++n) out[n] += factor * b_row[n];
      }
    }
  }
}

}  // namespace tnl
