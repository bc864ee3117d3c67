#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "core/buffer.h"
#include "core/convert.h"
#include "core/float16.h"
#include "core/rng.h"
#include "tnl/tensor.h"

namespace tnl {
namespace {

TEST(Buffer, IsZeroedAndAligned) {
  for (const std::size_t bytes : {1, 63, 64, 65, 100000}) {
    const auto buffer = Buffer::allocate(bytes, "a test");
    ASSERT_TRUE(buffer.ok());
    EXPECT_EQ(buffer.value().bytes(), bytes);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.value().data()) % kAlignment, 0u);
    const auto* data = static_cast<const unsigned char*>(buffer.value().data());
    for (std::size_t i = 0; i < bytes; ++i) ASSERT_EQ(data[i], 0);
  }
  EXPECT_EQ(Buffer::allocate(0, "a test").value().data(), nullptr);
}

// The sanitizers end the process where an allocation could never be met.
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif
#else
constexpr bool kSanitized = false;
#endif

TEST(Buffer, SaysWhatItWasFor) {
  constexpr std::size_t kMost = std::numeric_limits<std::size_t>::max();
  for (const std::size_t bytes : {kMost, kMost / 4}) {
    if (kSanitized && bytes != kMost) continue;
    const auto buffer = Buffer::allocate(bytes, "a test of the limits");
    ASSERT_FALSE(buffer.ok());
    EXPECT_EQ(buffer.status().code(), StatusCode::kUnavailable);
    EXPECT_NE(buffer.status().message().find("a test of the limits"), std::string::npos);
    EXPECT_NE(buffer.status().message().find(std::to_string(bytes)), std::string::npos);
  }
}

// All memory that the machine has: the system would promise it, and end the program later.
TEST(Buffer, RefusesMoreThanThereIs) {
  const auto all = static_cast<std::size_t>(::sysconf(_SC_PHYS_PAGES)) *
                   static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const auto buffer = Buffer::allocate(all, "a test");
  ASSERT_FALSE(buffer.ok());
  EXPECT_EQ(buffer.status().code(), StatusCode::kUnavailable);
  EXPECT_NE(buffer.status().message().find("for a test"), std::string::npos);
}

TEST(Arena, PiecesAreAlignedAndApart) {
  Arena arena;
  const std::size_t first = arena.add(10);
  const std::size_t second = arena.add(64);
  const std::size_t third = arena.add(1);
  EXPECT_EQ(first, 0u);
  EXPECT_EQ(second, 64u);
  EXPECT_EQ(third, 128u);
  EXPECT_EQ(arena.bytes(), 192u);
  ASSERT_TRUE(arena.allocate("a test").ok());
  EXPECT_EQ(arena.at<char>(third) - arena.at<char>(first), 128);
  *arena.at<char>(191) = 1;
}

TEST(Tensor, ContiguousStrides) {
  float data[24];
  const TensorView view = TensorView::contiguous(data, DType::kF32, {2, 3, 4});
  EXPECT_TRUE(view.given());
  EXPECT_EQ(view.rank, 3);
  EXPECT_EQ(view.elements(), 24);
  EXPECT_EQ(view.stride[0], 12);
  EXPECT_EQ(view.stride[1], 4);
  EXPECT_EQ(view.stride[2], 1);
  EXPECT_EQ(view.describe(), "f32[2, 3, 4]");
  EXPECT_EQ(TensorView::contiguous(data, DType::kBF16, {0, 5}).elements(), 0);
  EXPECT_FALSE(TensorView{}.given());
  EXPECT_EQ(TensorView{}.describe(), "nothing");
  // Sizes past 2^31 stay exact.
  EXPECT_EQ(TensorView::contiguous(data, DType::kU8, {1 << 20, 1 << 20}).elements(),
            std::int64_t{1} << 40);
}

TEST(Tensor, DTypes) {
  EXPECT_EQ(dtype_size(DType::kF64), 8);
  EXPECT_EQ(dtype_size(DType::kF32), 4);
  EXPECT_EQ(dtype_size(DType::kBF16), 2);
  EXPECT_EQ(dtype_size(DType::kF16), 2);
  EXPECT_EQ(dtype_size(DType::kI64), 8);
  EXPECT_EQ(dtype_size(DType::kI32), 4);
  EXPECT_EQ(dtype_size(DType::kU8), 1);
  EXPECT_EQ(dtype_name(DType::kF16), "f16");
}

TEST(Convert, BetweenAllFloatingTypes) {
  const std::vector<double> values = {0, -0.0, 1, -2.5, 0.15625, 240, HUGE_VAL, -HUGE_VAL};
  const DType dtypes[] = {DType::kF64, DType::kF32, DType::kBF16, DType::kF16};
  const auto count = static_cast<std::int64_t>(values.size());
  for (const DType from : dtypes) {
    for (const DType to : dtypes) {
      std::vector<char> source(values.size() * 8), target(values.size() * 8);
      std::vector<double> back(values.size(), 7);
      convert(values.data(), DType::kF64, source.data(), from, count);
      convert(source.data(), from, target.data(), to, count);
      convert(target.data(), to, back.data(), DType::kF64, count);
      EXPECT_EQ(back, values) << dtype_name(from) << " to " << dtype_name(to);
    }
  }
}

// Vectors of xoshiro256** with the state splitmix64(0) gives, worked out with exact integers.
TEST(Rng, KnownSequence) {
  Rng rng(0);
  const std::uint64_t expected[] = {0x99ec5f36cb75f2b4u, 0xbf6e1f784956452au, 0x1a5f849d4933e6e0u,
                                    0x6aa594f1262d2d2cu};
  for (const std::uint64_t value : expected) EXPECT_EQ(rng.next(), value);
}

TEST(Rng, StateContinuesTheSequence) {
  Rng rng(7);
  for (int i = 0; i < 10; ++i) rng.next();
  Rng copy(0);
  copy.set_state(rng.state());
  for (int i = 0; i < 10; ++i) EXPECT_EQ(copy.next(), rng.next());
}

TEST(Rng, Distributions) {
  Rng rng(1);
  constexpr int kDraws = 100000;
  double sum = 0, normal_sum = 0, normal_squares = 0;
  std::vector<int> counts(7);
  for (int i = 0; i < kDraws; ++i) {
    const double u = rng.uniform();
    ASSERT_GE(u, 0);
    ASSERT_LT(u, 1);
    sum += u;
    const double z = rng.normal();
    normal_sum += z;
    normal_squares += z * z;
    const std::uint64_t draw = rng.below(7);
    ASSERT_LT(draw, 7u);
    ++counts[draw];
  }
  // Five standard deviations each.
  EXPECT_NEAR(sum / kDraws, 0.5, 5 * std::sqrt(1.0 / 12 / kDraws));
  EXPECT_NEAR(normal_sum / kDraws, 0, 5 / std::sqrt(kDraws));
  EXPECT_NEAR(normal_squares / kDraws, 1, 5 * std::sqrt(2.0 / kDraws));
  for (const int count : counts) EXPECT_NEAR(count, kDraws / 7.0, 5 * std::sqrt(kDraws / 7.0));
  EXPECT_EQ(rng.below(1), 0u);
}

}  // namespace
}  // namespace tnl
