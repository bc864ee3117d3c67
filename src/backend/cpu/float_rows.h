// Rows of a Matrix as floats.
#pragma once

#include "backend/backend.h"
#include "core/check.h"

namespace tnl::cpu {

inline float* row(const Matrix& matrix, std::int64_t index) {
  TNL_CHECK(matrix.dtype == DType::kF32);
  return static_cast<float*>(matrix.data) + index * matrix.row_stride;
}

}  // namespace tnl::cpu
