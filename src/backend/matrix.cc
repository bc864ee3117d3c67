#include "backend/backend.h"
#include "core/check.h"

namespace tnl {

Matrix Matrix::columns(std::int64_t first, std::int64_t count) const {
  TNL_CHECK(first >= 0 && count >= 0 && first + count <= cols);
  Matrix block = *this;
  block.data = static_cast<char*>(data) + first * dtype_size(dtype);
  block.cols = count;
  return block;
}

Matrix Matrix::row_block(std::int64_t first, std::int64_t count) const {
  TNL_CHECK(first >= 0 && count >= 0 && first + count <= rows);
  Matrix block = *this;
  block.data = static_cast<char*>(data) + first * row_stride * dtype_size(dtype);
  block.rows = count;
  return block;
}

Matrix Matrix::contiguous(void* data, DType dtype, std::int64_t rows, std::int64_t cols) {
  return {.data = data, .dtype = dtype, .rows = rows, .cols = cols, .row_stride = cols};
}

}  // namespace tnl
