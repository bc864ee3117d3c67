#include "infer/logit_scan.h"

#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "core/rng.h"

namespace tnl {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(LogitScan, WeightsAreExponentials) {
  Rng rng(1);
  for (const double temperature : {0.05, 1.0, 3.0}) {
    std::vector<float> logits(4099), weights(logits.size());
    for (float& logit : logits) logit = static_cast<float>(5 - 90 * temperature * rng.uniform());
    logits[7] = 5;
    const double total = softmax_weights(logits, 5, temperature, weights);
    double expected = 0;
    for (std::size_t i = 0; i < logits.size(); ++i) {
      // As floats have it: where the quotient is large its rounding counts.
      const double x = (static_cast<double>(logits[i]) - 5) / temperature;
      const double wanted = std::exp(x);
      expected += wanted;
      if (x < -86.9) {
        EXPECT_LE(weights[i], 2e-38);
        continue;
      }
      EXPECT_NEAR(weights[i] / wanted, 1, 3e-7 + 2e-7 * -x) << x;
    }
    EXPECT_EQ(weights[7], 1);
    EXPECT_NEAR(total / expected, 1, 1e-6);
  }
}

TEST(LogitScan, WhatIsExcludedWeighsNothingAtAnyTemperature) {
  for (const double temperature : {5e-324, 1e-300, 1e-3, 1.0, 1e3, 1e300}) {
    std::vector<float> weights(5);
    const std::vector<float> logits = {-kInfinity, 2, -kInfinity, 2, -kInfinity};
    EXPECT_EQ(softmax_weights(logits, 2, temperature, weights), 2) << temperature;
    EXPECT_EQ(weights, (std::vector<float>{0, 1, 0, 1, 0}));
  }
}

TEST(LogitScan, SumsAndBoundsOfAnyNumber) {
  for (std::size_t size = 0; size < 40; ++size) {
    std::vector<float> values(size);
    double total = 0, from = 0;
    for (std::size_t i = 0; i < size; ++i) {
      values[i] = static_cast<float>(1 + i % 5);
      total += values[i];
      from += values[i] >= 3 ? values[i] : 0;
    }
    EXPECT_EQ(sum(values), total);
    EXPECT_EQ(sum_from(values, 3), from);
    EXPECT_EQ(any_above(values, 3), size > 3);
    EXPECT_FALSE(any_above(values, 5));
  }
}

TEST(LogitScan, FindsWhatIsBrokenWhereverItIs) {
  for (std::size_t size = 1; size < 40; ++size) {
    std::vector<float> logits(size, -kInfinity);
    EXPECT_EQ(scan_logits(logits).top, -kInfinity);
    for (std::size_t at = 0; at < size; ++at) {
      for (const float bad : {kInfinity, std::nanf("")}) {
        logits[at] = bad;
        EXPECT_TRUE(scan_logits(logits).broken);
      }
      logits[at] = -7;
      const LogitRange range = scan_logits(logits);
      EXPECT_FALSE(range.broken);
      EXPECT_EQ(range.top, -7);
      logits[at] = -kInfinity;
    }
  }
}

}  // namespace
}  // namespace tnl
