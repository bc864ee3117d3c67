// Buffers, arenas and tensor views.
#include <algorithm>
#include <cstdint>
#include <string>

#include <gtest/gtest.h>

#include "core/buffer.h"
#include "tnl/tensor.h"

namespace tnl {
namespace {

TEST(Buffer, IsZeroedAndAligned) {
  for (std::size_t bytes :
       {std::size_t{0}, std::size_t{1}, std::size_t{100}, std::size_t{1} << 20}) {
    const Buffer buffer = Buffer::allocate(bytes, "the test").value();
    EXPECT_EQ(buffer.bytes(), bytes);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()) % kAlignment, 0u);
    const char* data = static_cast<const char*>(buffer.data());
    EXPECT_TRUE(std::all_of(data, data + bytes, [](char c) { return c == 0; }));
  }
}

TEST(Buffer, SaysWhatTooMuchMemoryWasFor) {
  const Status status = Buffer::allocate(std::size_t{1} << 60, "the state of the world").status();
  EXPECT_FALSE(status.ok());
  EXPECT_NE(status.message().find("the state of the world"), std::string::npos);
}

TEST(Arena, GivesPiecesThatDoNotOverlap) {
  Arena arena;
  const std::size_t first = arena.add(1), second = arena.add(100), third = arena.add(64);
  ASSERT_TRUE(arena.allocate("the test").ok());
  EXPECT_EQ(first % kAlignment, 0u);
  EXPECT_EQ(second % kAlignment, 0u);
  EXPECT_GE(second, first + 1);
  EXPECT_GE(third, second + 100);
  EXPECT_GE(arena.bytes(), third + 64);
  arena.at<char>(third)[63] = 1;
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(arena.at(second)) % kAlignment, 0u);
}

TEST(TensorView, DescribesShapeAndStrides) {
  float data[24];
  const TensorView view = TensorView::contiguous(data, DType::kF32, {2, 3, 4});
  EXPECT_EQ(view.elements(), 24);
  EXPECT_EQ(view.stride[0], 12);
  EXPECT_EQ(view.stride[1], 4);
  EXPECT_EQ(view.stride[2], 1);
  EXPECT_EQ(view.describe(), "f32[2, 3, 4]");
  EXPECT_EQ(TensorView::contiguous(data, DType::kBF16, {5, 0}).elements(), 0);
  EXPECT_FALSE(TensorView{}.given());
  EXPECT_EQ(TensorView{}.elements(), 0);
}

TEST(TensorView, NamesEveryType) {
  EXPECT_EQ(dtype_size(DType::kF64), 8);
  EXPECT_EQ(dtype_size(DType::kBF16), 2);
  EXPECT_EQ(dtype_size(DType::kF16), 2);
  EXPECT_EQ(dtype_size(DType::kU8), 1);
  EXPECT_EQ(dtype_name(DType::kI64), "i64");
  EXPECT_EQ(dtype_name(DType::kF16), "f16");
}

}  // namespace
}  // namespace tnl
