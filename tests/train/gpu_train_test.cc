// Training on a GPU: near the CPU's run, and its own bits again after a stop.
#include <gtest/gtest.h>

#include <optional>

#include "train/tiny_run.h"

namespace tnl {
namespace {

namespace fs = std::filesystem;
using test::expect_same_metrics;
using test::take;
using test::TinyRun;

class GpuTrain : public testing::TestWithParam<DType> {
 protected:
  void SetUp() override {
    const auto device =
        Device::open("cuda", {.threads = 2, .cpu_target = {}, .gpu_compute = GetParam()});
    if (!device.ok()) GTEST_SKIP() << device.status().message();
    gpu_.emplace(*device);
  }
  std::optional<Device> gpu_;
};

TEST_P(GpuTrain, FollowsTheCpu) {
  TinyRun tiny;
  tiny.config.steps = 30;
  take(tiny.start("cpu"));
  tiny.device = *gpu_;
  take(tiny.start("gpu"));
  const auto cpu = tiny.metrics("cpu"), gpu = tiny.metrics("gpu");
  ASSERT_EQ(cpu.size(), gpu.size());
  const double bound = GetParam() == DType::kF32 ? 1e-3 : 0.05;
  for (std::size_t i = 0; i < cpu.size(); ++i) {
    EXPECT_NEAR(gpu[i].loss, cpu[i].loss, bound) << "step " << i + 1;
    EXPECT_NEAR(gpu[i].gradient_norm, cpu[i].gradient_norm, 4 * bound * cpu[i].gradient_norm)
        << "step " << i + 1;
  }
  EXPECT_LT(gpu.back().loss, gpu.front().loss - 0.5);
}

TEST_P(GpuTrain, ResumedItRepeatsTheRunThatWasNotStopped) {
  TinyRun tiny;
  tiny.device = *gpu_;
  ASSERT_TRUE(take(tiny.start("whole")).finished);
  take(tiny.start("parts", [](const TrainProgress& p) { return p.step < 2; }));
  for (const std::int64_t stop : {4, 6}) {
    take(tiny.resume("parts", [&](const TrainProgress& p) { return p.step < stop; }));
  }
  EXPECT_EQ(tiny.parameters("parts"), tiny.parameters("whole"));
  const char* moments = "checkpoints/step-00000006/optimizer.safetensors";
  EXPECT_EQ(test::file_bytes(tiny.run("parts") / moments),
            test::file_bytes(tiny.run("whole") / moments));
  expect_same_metrics(tiny.metrics("whole"), tiny.metrics("parts"));
}

INSTANTIATE_TEST_SUITE_P(Precision, GpuTrain, testing::Values(DType::kF32, DType::kBF16),
                         [](const auto& info) { return std::string(dtype_name(info.param)); });

}  // namespace
}  // namespace tnl
