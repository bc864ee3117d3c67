// Training on a GPU: near the CPU's run, and its own bits again after a stop.
#include <gtest/gtest.h>

#include <optional>

#include "backend/backend.h"
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

void expect_the_bits_after_a_stop(const Device& device, const std::string& text, double held_out) {
  TinyRun tiny(text, held_out);
  tiny.device = device;
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

TEST_P(GpuTrain, ResumedItRepeatsTheRunThatWasNotStopped) {
  expect_the_bits_after_a_stop(*gpu_, test::tiny_text(120, 7), 0.2);
}

// The passes after a stop are recorded later than in the run without it.
TEST_P(GpuTrain, ResumedItRepeatsReplayedPasses) {
  expect_the_bits_after_a_stop(*gpu_, test::long_documents(6), 0.4);
}

// A process that comes later, whose heuristic would choose otherwise: the checkpoint's choice
// counts.
TEST_P(GpuTrain, TheAlgorithmsOfTheCheckpointComeFirst) {
  TinyRun tiny;
  tiny.device = *gpu_;
  take(tiny.start("run", [](const TrainProgress& p) { return p.step < 3; }));
  const fs::path kept = tiny.run("run") / "checkpoints" / "step-00000003" / "choices.txt";
  const std::string choices = test::file_bytes(kept);
  EXPECT_TRUE(choices.starts_with("cublaslt "));
  tiny.device =
      take(Device::open("cuda", {.threads = 2, .cpu_target = {}, .gpu_compute = GetParam()}));
  take(tiny.resume("run", [](const TrainProgress&) { return false; }));
  EXPECT_EQ(tiny.device.backend().choices(), choices);
}

TEST_P(GpuTrain, TakesTheMemoryThatWasPlanned) {
  TinyRun tiny;
  tiny.device = *gpu_;
  tiny.config.batch_tokens = 1 << 16;
  tiny.config.accumulate = 1;
  tiny.config.steps = 1;
  std::size_t planned = 0, code = 0;
  std::string items;
  for (const MemoryItem& item : take(train_memory(tiny.config, tiny.device))) {
    planned += item.bytes;
    items += item.name + ": " + std::to_string(item.bytes) + "\n";
    if (item.name == "code and graphs of the kernels") code = item.bytes;
  }
  const std::size_t before = take(tiny.device.backend().memory_use())->allocated;
  std::size_t allocated = 0;
  take(tiny.start("run", [&](const TrainProgress&) {
    allocated = take(tiny.device.backend().memory_use())->allocated - before;
    return true;
  }));
  EXPECT_LE(allocated, planned - code) << items;
  EXPECT_GE(allocated, (planned - code) / 100 * 97) << items;
}

INSTANTIATE_TEST_SUITE_P(Precision, GpuTrain, testing::Values(DType::kF32, DType::kBF16),
                         [](const auto& info) { return std::string(dtype_name(info.param)); });

}  // namespace
}  // namespace tnl
