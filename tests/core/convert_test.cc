#include "core/convert.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace tnl {
namespace {

// The position, whatever the type, and none for the largest finite value.
TEST(FirstNotFinite, FindsIt) {
  for (const DType dtype : {DType::kF64, DType::kF32, DType::kBF16, DType::kF16}) {
    for (const double bad : {std::nan(""), -std::numeric_limits<double>::infinity()}) {
      for (const std::int64_t at : {0, 1, 1023, 1024, 2999}) {
        std::vector<double> values(3000, -60000);
        std::vector<char> stored(3000 * sizeof(double));
        convert(values.data(), DType::kF64, stored.data(), dtype, 3000);
        EXPECT_EQ(first_not_finite(stored.data(), dtype, 3000), -1) << dtype_name(dtype);
        values[at] = values[2999] = bad;
        convert(values.data(), DType::kF64, stored.data(), dtype, 3000);
        EXPECT_EQ(first_not_finite(stored.data(), dtype, 3000), at) << dtype_name(dtype);
        EXPECT_EQ(first_not_finite(stored.data(), dtype, at), -1) << dtype_name(dtype);
      }
    }
  }
}

}  // namespace
}  // namespace tnl
