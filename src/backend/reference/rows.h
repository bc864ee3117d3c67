// Rows of a Matrix as doubles.
#pragma once

#include "backend/backend.h"
#include "core/check.h"
#include "core/convert.h"

namespace tnl::reference {

inline double* row(const Matrix& matrix, std::int64_t index) {
  TNL_CHECK(matrix.dtype == DType::kF64);
  return static_cast<double*>(matrix.data) + index * matrix.row_stride;
}

// One element of a parameter matrix, whatever its storage.
inline double element(const Matrix& matrix, std::int64_t row, std::int64_t col) {
  double value = 0;
  convert(static_cast<const char*>(matrix.data) +
              (row * matrix.row_stride + col) * dtype_size(matrix.dtype),
          matrix.dtype, &value, DType::kF64, 1);
  return value;
}

}  // namespace tnl::reference
