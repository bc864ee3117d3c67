#include "core/float16.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace tnl {
namespace {

// Each format by its definition, in fp64.
double value_of(BF16 x) {
  const int exponent = (x.bits >> 7) & 0xff;
  const int mantissa = x.bits & 0x7f;
  const double sign = (x.bits & 0x8000) != 0 ? -1 : 1;
  if (exponent == 0xff) return mantissa != 0 ? std::nan("") : sign * HUGE_VAL;
  if (exponent == 0) return sign * std::ldexp(mantissa, -126 - 7);
  return sign * std::ldexp(mantissa + 128, exponent - 127 - 7);
}

double value_of(F16 x) {
  const int exponent = (x.bits >> 10) & 0x1f;
  const int mantissa = x.bits & 0x3ff;
  const double sign = (x.bits & 0x8000) != 0 ? -1 : 1;
  if (exponent == 0x1f) return mantissa != 0 ? std::nan("") : sign * HUGE_VAL;
  if (exponent == 0) return sign * std::ldexp(mantissa, -14 - 10);
  return sign * std::ldexp(mantissa + 1024, exponent - 15 - 10);
}

BF16 narrow(float x, BF16) {
  return to_bf16(x);
}
F16 narrow(float x, F16) {
  return to_f16(x);
}

template <class T>
class Float16 : public testing::Test {};
using Formats = testing::Types<BF16, F16>;
TYPED_TEST_SUITE(Float16, Formats);

TYPED_TEST(Float16, EveryWordRoundTrips) {
  for (std::uint32_t word = 0; word < 0x10000; ++word) {
    const TypeParam stored{static_cast<std::uint16_t>(word)};
    const float wide = to_float(stored);
    if (std::isnan(value_of(stored))) {
      ASSERT_TRUE(std::isnan(wide)) << word;
      ASSERT_TRUE(std::isnan(to_float(narrow(wide, TypeParam{})))) << word;
      continue;
    }
    ASSERT_EQ(static_cast<double>(wide), value_of(stored)) << word;
    ASSERT_EQ(std::signbit(wide), (word & 0x8000) != 0) << word;
    ASSERT_EQ(narrow(wide, TypeParam{}).bits, word);
  }
}

// Around every word and every midpoint between neighbours: the nearest, ties to the even word.
TYPED_TEST(Float16, RoundsToNearestEven) {
  for (std::uint32_t word = 0; word + 1 < 0x8000; ++word) {
    const TypeParam low{static_cast<std::uint16_t>(word)};
    const TypeParam high{static_cast<std::uint16_t>(word + 1)};
    if (std::isnan(value_of(low)) || !std::isfinite(value_of(high))) continue;
    const auto middle = static_cast<float>((value_of(low) + value_of(high)) / 2);
    ASSERT_EQ(static_cast<double>(middle) * 2, value_of(low) + value_of(high));
    const std::uint32_t even = word % 2 == 0 ? word : word + 1;
    for (const float sign : {1.0f, -1.0f}) {
      const std::uint32_t sign_bit = sign < 0 ? 0x8000u : 0u;
      const auto bits = [&](float x) { return narrow(sign * x, TypeParam{}).bits; };
      ASSERT_EQ(bits(middle), even | sign_bit) << word;
      ASSERT_EQ(bits(std::nextafter(middle, 0.0f)), word | sign_bit) << word;
      ASSERT_EQ(bits(std::nextafter(middle, HUGE_VALF)), (word + 1) | sign_bit) << word;
    }
  }
}

TEST(F16Limits, OverflowsToInfinity) {
  EXPECT_EQ(to_f16(65519.996f).bits, 0x7bff);
  EXPECT_EQ(to_f16(65520.0f).bits, 0x7c00);
  EXPECT_EQ(to_f16(-1e30f).bits, 0xfc00);
  EXPECT_EQ(to_f16(HUGE_VALF).bits, 0x7c00);
  EXPECT_EQ(to_f16(std::numeric_limits<float>::denorm_min()).bits, 0);
}

TEST(BF16Limits, OverflowsToInfinity) {
  EXPECT_EQ(to_bf16(std::numeric_limits<float>::max()).bits, 0x7f80);
  EXPECT_EQ(to_bf16(std::bit_cast<float>(0x7f7f7fffu)).bits, 0x7f7f);
}

TEST(Float16NaN, WithLowBitsAloneStaysNaN) {
  const float nan = std::bit_cast<float>(0x7f800001u);
  EXPECT_TRUE(std::isnan(to_float(to_bf16(nan))));
  EXPECT_TRUE(std::isnan(to_float(to_f16(nan))));
}

}  // namespace
}  // namespace tnl
