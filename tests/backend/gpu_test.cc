// The tests of this folder take the GPU along where there is one; this one says so where not.
#include <gtest/gtest.h>

#include "backend/backend.h"
#include "tnl/device.h"

namespace tnl::test {
namespace {

TEST(GpuBackend, IsAmongTheCandidates) {
  const auto device = Device::open("cuda");
  if (!device.ok()) GTEST_SKIP() << device.status().message();
  EXPECT_EQ(device->backend().compute_dtype(), DType::kBF16);
  EXPECT_EQ(device->backend().sum_dtype(), DType::kF32);
}

}  // namespace
}  // namespace tnl::test
