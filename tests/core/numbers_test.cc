// Random numbers, 16-bit floats and conversions, against published or hand-computed values.
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "core/convert.h"
#include "core/float16.h"
#include "core/rng.h"

namespace tnl {
namespace {

// Worked out independently from the two generators' published definitions.
TEST(Rng, GivesThePublishedSequence) {
  Rng rng(0);
  EXPECT_EQ(rng.state(), (Rng::State{0xe220a8397b1dcdafu, 0x6e789e6aa1b965f4u, 0x06c45d188009454fu,
                                     0xf88bb8a8724c81ecu}));
  EXPECT_EQ(rng.next(), 0x99ec5f36cb75f2b4u);
  EXPECT_EQ(rng.next(), 0xbf6e1f784956452au);
  EXPECT_EQ(rng.next(), 0x1a5f849d4933e6e0u);
}

TEST(Rng, ContinuesFromASavedState) {
  Rng first(7);
  for (int i = 0; i < 100; ++i) first.normal();
  Rng second;
  second.set_state(first.state());
  for (int i = 0; i < 100; ++i) EXPECT_EQ(first.normal(), second.normal());
}

TEST(Rng, DrawsBelowABoundEvenly) {
  Rng rng(1);
  std::vector<int> counts(3, 0);
  for (int i = 0; i < 30000; ++i) ++counts.at(rng.below(3));
  for (int count : counts) EXPECT_NEAR(count, 10000, 400);  // about five standard deviations
  EXPECT_EQ(rng.below(1), 0u);
  // Above 2^63 nearly half of all draws have to be thrown away.
  for (int i = 0; i < 100; ++i) EXPECT_LT(rng.below((1ull << 63) + 1), (1ull << 63) + 1);
}

TEST(Rng, NormalHasMeanZeroAndVarianceOne) {
  Rng rng(3);
  double sum = 0, squares = 0, fourth = 0;
  const int count = 200000;
  for (int i = 0; i < count; ++i) {
    const double x = rng.normal();
    sum += x;
    squares += x * x;
    fourth += x * x * x * x;
  }
  EXPECT_NEAR(sum / count, 0.0, 0.012);
  EXPECT_NEAR(squares / count, 1.0, 0.017);
  EXPECT_NEAR(fourth / count, 3.0, 0.12);
}

TEST(Float16, RoundsBf16ToNearestEven) {
  EXPECT_EQ(to_bf16(1.0f).bits, 0x3f80);
  EXPECT_EQ(to_bf16(1.0f + 0x1p-8f).bits, 0x3f80);             // a tie, to even
  EXPECT_EQ(to_bf16(1.0f + 3 * 0x1p-8f).bits, 0x3f82);         // a tie, to even, up
  EXPECT_EQ(to_bf16(1.0f + 0x1p-8f + 0x1p-20f).bits, 0x3f81);  // above the tie
  EXPECT_EQ(to_bf16(-0.0f).bits, 0x8000);
  EXPECT_EQ(to_bf16(std::numeric_limits<float>::max()).bits, 0x7f80);
  EXPECT_EQ(to_bf16(std::numeric_limits<float>::infinity()).bits, 0x7f80);
  const auto signalling = std::bit_cast<float>(0x7f800001u);  // only low bits: must not become inf
  EXPECT_TRUE(std::isnan(to_float(to_bf16(signalling))));
}

TEST(Float16, RoundsF16ToNearestEven) {
  EXPECT_EQ(to_f16(1.0f).bits, 0x3c00);
  EXPECT_EQ(to_f16(1.0f + 0x1p-11f).bits, 0x3c00);
  EXPECT_EQ(to_f16(1.0f + 3 * 0x1p-11f).bits, 0x3c02);
  EXPECT_EQ(to_f16(-2.0f).bits, 0xc000);
  EXPECT_EQ(to_f16(65504.0f).bits, 0x7bff);
  EXPECT_EQ(to_f16(65519.0f).bits, 0x7bff);
  EXPECT_EQ(to_f16(65520.0f).bits, 0x7c00);
  EXPECT_EQ(to_f16(0x1p-14f).bits, 0x0400);      // the smallest normal
  EXPECT_EQ(to_f16(0x1p-24f).bits, 0x0001);      // the smallest subnormal
  EXPECT_EQ(to_f16(0x1p-25f).bits, 0x0000);      // a tie, to even
  EXPECT_EQ(to_f16(0x1.8p-25f).bits, 0x0001);    // above the tie
  EXPECT_EQ(to_f16(-0x1.8p-24f).bits, 0x8002);   // a tie, to even, up
  EXPECT_EQ(to_f16(0x1.ffcp-15f).bits, 0x0400);  // rounds up out of the subnormals
  EXPECT_TRUE(std::isnan(to_float(to_f16(std::nanf("")))));
}

TEST(Float16, EveryValueSurvivesTheRoundTrip) {
  for (std::uint32_t bits = 0; bits <= 0xffff; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const float f16 = to_float(F16{half});
    if (!std::isnan(f16)) {
      EXPECT_EQ(to_f16(f16).bits, half);
    }
    const float bf16 = to_float(BF16{half});
    if (!std::isnan(bf16)) {
      EXPECT_EQ(to_bf16(bf16).bits, half);
    }
  }
}

TEST(Convert, GoesThroughEveryPairOfTypes) {
  const std::vector<double> values{0, 1, -2.5, 0.15625, 1024};  // exact in all four types
  for (DType from : {DType::kF64, DType::kF32, DType::kBF16, DType::kF16}) {
    for (DType to : {DType::kF64, DType::kF32, DType::kBF16, DType::kF16}) {
      const auto count = static_cast<std::int64_t>(values.size());
      // One byte off any alignment, as a tensor in a file may be.
      std::vector<char> first(values.size() * 8 + 1), second(values.size() * 8 + 1);
      std::vector<double> back(values.size());
      convert(values.data(), DType::kF64, first.data() + 1, from, count);
      convert(first.data() + 1, from, second.data() + 1, to, count);
      convert(second.data() + 1, to, back.data(), DType::kF64, count);
      EXPECT_EQ(back, values) << dtype_name(from) << " to " << dtype_name(to);
    }
  }
  EXPECT_FALSE(is_floating(DType::kI32));
  EXPECT_TRUE(is_floating(DType::kBF16));
}

}  // namespace
}  // namespace tnl
