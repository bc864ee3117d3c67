// A view of memory somebody else owns: element type, shape and strides. Nothing here allocates.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

namespace tnl {

enum class DType : std::uint8_t { kF64, kF32, kBF16, kF16, kI64, kI32, kU8 };

// Bytes of one element.
std::int64_t dtype_size(DType dtype);
// "f64", "f32", "bf16", "f16", "i64", "i32" or "u8".
std::string_view dtype_name(DType dtype);

struct TensorView {
  static constexpr int kMaxRank = 4;

  void* data = nullptr;
  DType dtype = DType::kF32;
  int rank = 0;
  std::array<std::int64_t, kMaxRank> shape{};
  std::array<std::int64_t, kMaxRank> stride{};  // in elements, not bytes

  // A default-constructed view stands for "not given".
  bool given() const { return rank != 0; }
  std::int64_t elements() const;
  // "f32[2, 5, 4, 64]", for messages.
  std::string describe() const;

  // Row-major view of `shape` over `data`.
  static TensorView contiguous(void* data, DType dtype, std::initializer_list<std::int64_t> shape);
};

}  // namespace tnl
