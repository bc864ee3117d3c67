#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "backend/cpu/simd/kernels.h"
#include "tnl/device.h"

namespace tnl {
namespace {

const cpu::Kernels& kernels_of(const std::string& target) {
#if defined(__x86_64__)
  if (target == "avx512") return avx512::kKernels;
  if (target == "avx2") return avx2::kKernels;
#endif
  EXPECT_EQ(target, "generic");
  return generic::kKernels;
}

float ulp(float x) {
  return std::nextafter(x, HUGE_VALF) - x;
}

// Every exponent and a fine grid of mantissas over all finite results that are normal numbers.
TEST(VectorExp, IsWithinTwoUlp) {
  std::vector<float> x;
  for (std::uint32_t bits = 0; bits < 0x42b17200u; bits += 601) {
    const auto magnitude = std::bit_cast<float>(bits);
    if (magnitude < 88.7228f) x.push_back(magnitude);
    if (magnitude < 87.3365f) x.push_back(-magnitude);
  }
  std::vector<float> expected_ulp(x.size());
  std::vector<double> expected(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    expected[i] = std::exp(static_cast<double>(x[i]));
    expected_ulp[i] = ulp(static_cast<float>(expected[i]));
  }
  for (const std::string& target : available_cpu_targets()) {
    std::vector<float> y(x.size());
    kernels_of(target).exp(x.data(), static_cast<std::int64_t>(x.size()), y.data());
    double most = 0, where = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double error = std::abs(y[i] - expected[i]) / static_cast<double>(expected_ulp[i]);
      if (!(error <= most)) {
        most = error;
        where = x[i];
      }
    }
    EXPECT_LE(most, 1.5) << target << " at " << where;
    RecordProperty(target + "_ulp", std::to_string(most));
  }
}

TEST(VectorExp, Limits) {
  const float infinity = std::numeric_limits<float>::infinity();
  const std::vector<float> x = {0.0f,      -0.0f,  1e-40f, -1e-40f, -87.4f,   -1e30f,
                                -infinity, 88.73f, 89.0f,  1e30f,   infinity, 88.722f};
  for (const std::string& target : available_cpu_targets()) {
    std::vector<float> y(x.size());
    kernels_of(target).exp(x.data(), static_cast<std::int64_t>(x.size()), y.data());
    for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(y[i], 1.0f) << target;
    for (std::size_t i = 4; i < 7; ++i) EXPECT_EQ(y[i], 0.0f) << target << " at " << x[i];
    for (std::size_t i = 7; i < 11; ++i) EXPECT_EQ(y[i], infinity) << target << " at " << x[i];
    EXPECT_TRUE(std::isfinite(y[11])) << target;
    const float nan = std::numeric_limits<float>::quiet_NaN();
    float result = 0;
    kernels_of(target).exp(&nan, 1, &result);
    EXPECT_TRUE(std::isnan(result)) << target;
  }
}

}  // namespace
}  // namespace tnl
