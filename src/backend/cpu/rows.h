// Rows of f32 matrices.
#pragma once

#include "backend/backend.h"

namespace tnl::cpu {

inline float* row(const Matrix& matrix, std::int64_t index) {
  return static_cast<float*>(matrix.data) + index * matrix.row_stride;
}

inline bool is_f32(const Matrix& matrix, std::int64_t rows, std::int64_t cols) {
  return matrix.dtype == DType::kF32 && matrix.rows == rows && matrix.cols == cols;
}

// A weight's row in its storage type.
inline const void* stored_row(const Matrix& matrix, std::int64_t index) {
  return static_cast<const char*>(matrix.data) +
         index * matrix.row_stride * dtype_size(matrix.dtype);
}

}  // namespace tnl::cpu
