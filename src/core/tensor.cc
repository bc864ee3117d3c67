#include "tnl/tensor.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <span>

#include "core/check.h"

namespace tnl {

std::int64_t dtype_size(DType dtype) {
  switch (dtype) {
    case DType::kF64:
    case DType::kI64:
      return 8;
    case DType::kF32:
    case DType::kI32:
      return 4;
    case DType::kBF16:
    case DType::kF16:
      return 2;
    case DType::kU8:
      return 1;
  }
  TNL_CHECK(false);
}

std::string_view dtype_name(DType dtype) {
  switch (dtype) {
    case DType::kF64:
      return "f64";
    case DType::kF32:
      return "f32";
    case DType::kBF16:
      return "bf16";
    case DType::kF16:
      return "f16";
    case DType::kI64:
      return "i64";
    case DType::kI32:
      return "i32";
    case DType::kU8:
      return "u8";
  }
  TNL_CHECK(false);
}

std::int64_t TensorView::elements() const {
  std::int64_t count = rank == 0 ? 0 : 1;
  for (int axis = 0; axis < rank; ++axis) count *= shape[axis];
  return count;
}

std::string TensorView::describe() const {
  if (!given()) return "nothing";
  return fmt::format("{}[{}]", dtype_name(dtype), fmt::join(std::span(shape).first(rank), ", "));
}

TensorView TensorView::contiguous(void* data, DType dtype,
                                  std::initializer_list<std::int64_t> shape) {
  TNL_CHECK(shape.size() <= kMaxRank);
  TensorView view{.data = data, .dtype = dtype, .rank = static_cast<int>(shape.size())};
  int axis = 0;
  for (std::int64_t extent : shape) view.shape[axis++] = extent;
  std::int64_t stride = 1;
  for (axis = view.rank - 1; axis >= 0; --axis) {
    view.stride[axis] = stride;
    stride *= view.shape[axis];
  }
  return view;
}

}  // namespace tnl
