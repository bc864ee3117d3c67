// Training passes that are replayed give the bits of passes that are not: on a GPU, and on a
// stand-in for one (support/recording_cpu.h) that takes nothing anew beside what is in memory.
#include <gtest/gtest.h>

#include <cstdlib>
#include <vector>

#include "backend/backend.h"
#include "backend/host_copy.h"
#include "model/execution.h"
#include "model/model_cases.h"
#include "support/require.h"

namespace tnl {
namespace {

using test::OwnedBatch;
using test::random_batch;
using test::take;

// Of a stand-in that runs so many recordings before it fails.
Device stand_in(const char* replays) {
  ::setenv("TNL_CUDA_LIBRARY", TNL_FAILING_GPU, 1);
  ::setenv("TNL_TEST_GPU_REPLAYS", replays, 1);
  Device device = take(Device::open("cuda:0", {.threads = 1, .cpu_target = ""}));
  ::unsetenv("TNL_CUDA_LIBRARY");
  ::unsetenv("TNL_TEST_GPU_REPLAYS");
  return device;
}

struct Outcome {
  double loss = 0;
  std::vector<float> gradients;

  bool operator==(const Outcome&) const = default;
};

// In passes of at most Limits::tokens.
Result<LossSum> train(Execution& execution, Gradients& gradients, const OwnedBatch& batch,
                      double scale) {
  const LongBatch whole{.cu_seqlens = batch.cu_seqlens,
                        .read = [&](std::int64_t begin, std::int64_t end) -> Result<TokenBatch> {
                          const auto piece = [&](const auto& values) {
                            return std::span(values).subspan(static_cast<std::size_t>(begin),
                                                             static_cast<std::size_t>(end - begin));
                          };
                          TokenBatch read{.tokens = piece(batch.tokens),
                                          .targets = piece(batch.targets)};
                          if (!batch.mask.empty()) read.mask = piece(batch.mask);
                          return read;
                        }};
  return execution.loss_and_gradients(whole, scale, gradients);
}

Outcome run(Execution& execution, const Model& model, Gradients& gradients, const OwnedBatch& batch,
            double scale) {
  gradients.zero();
  Outcome outcome;
  outcome.loss = take(train(execution, gradients, batch, scale)).sum;
  const std::span<float> flat = gradients.flat();
  const HostCopy host =
      take(HostCopy::download(model.device().backend(), flat.data(), flat.size_bytes()));
  outcome.gradients.assign(host.as<float>(), host.as<float>() + flat.size());
  return outcome;
}

struct Call {
  const OwnedBatch* batch;
  double scale;
  Gradients* gradients;
};

void expect_the_bits(const Device& device, const ModelConfig& config, std::int64_t tokens) {
  const DType dtype = device.backend().compute_dtype();
  const Model model = take(Model::create(config, device, 5, dtype));
  const auto execution = [&](bool replay) {
    return take(Execution::create(
        model, {.tokens = tokens, .sequences = 64, .training = true, .replay = replay}));
  };
  Gradients one = take(Gradients::create(model)), two = take(Gradients::create(model));
  // The same outline with other tokens, with padding, and another outline.
  const OwnedBatch even[] = {random_batch(config, {500, 500, 500}, 1),
                             random_batch(config, {500, 500, 500}, 2)};
  OwnedBatch padded = even[0];
  padded.mask.assign(padded.tokens.size(), 1);
  padded.mask[3] = padded.mask[700] = 0;
  const OwnedBatch odd = random_batch(config, {4000, 7, 89}, 3);
  const std::vector<Call> calls = {
      {&even[0], 0.1, &one}, {&even[1], 0.1, &one}, {&even[0], 0.1, &one}, {&even[1], 0.3, &one},
      {&odd, 0.1, &one},     {&even[0], 0.1, &one}, {&odd, 0.1, &one},     {&odd, 0.1, &one},
      {&odd, 0.2, &one},     {&even[1], 0.1, &one}, {&even[1], 0.2, &one}, {&even[0], 0.2, &two},
      {&even[1], 0.2, &two}, {&even[0], 0.2, &one}, {&padded, 0.2, &one},  {&padded, 0.1, &one},
      {&padded, 0, &one},    {&even[0], 0.1, &one}};
  Execution replaying = execution(true), plain = execution(false);
  for (std::size_t i = 0; i < calls.size(); ++i) {
    const auto [batch, scale, gradients] = calls[i];
    const Outcome expected = run(plain, model, *gradients, *batch, scale);
    EXPECT_EQ(run(replaying, model, *gradients, *batch, scale), expected) << i;
    if (i != 2) continue;
    // What an evaluation leaves behind is not what the recording was made with.
    const OwnedBatch other = random_batch(config, {3, tokens - 3}, 4);
    std::vector<double> losses(other.tokens.size());
    EXPECT_OK(replaying.losses(other.view(), nullptr, losses));
  }
}

TEST(RecordedPass, RepeatsTheBits) {
  for (const auto& [name, config] : test::config_cases()) {
    SCOPED_TRACE(name);
    expect_the_bits(stand_in("10000"), config, 4096);
    expect_the_bits(stand_in("10000"), config, 300);
  }
}

TEST(GpuRecordedPass, RepeatsTheBits) {
  for (const DType dtype : {DType::kBF16, DType::kF32}) {
    const auto device =
        Device::open("cuda", {.threads = 2, .cpu_target = {}, .gpu_compute = dtype});
    if (!device.ok()) GTEST_SKIP() << device.status().message();
    for (const auto& [name, config] : test::config_cases()) {
      SCOPED_TRACE(name);
      expect_the_bits(*device, config, 4096);
      expect_the_bits(*device, config, 300);
    }
  }
}

// Recorded when an outline comes again, whatever the number of targets; only where it is asked for.
TEST(RecordedPass, TakesWhatComesAgain) {
  const ModelConfig config = test::small_config();
  const OwnedBatch batch = random_batch(config, {30, 30}, 1), other = random_batch(config, {9}, 2);
  const auto passes_until_it_fails = [&](const char* replays, bool replay) {
    const Model model = take(Model::create(config, stand_in(replays), 5));
    Gradients gradients = take(Gradients::create(model));
    Execution execution = take(Execution::create(
        model, {.tokens = 64, .sequences = 8, .training = true, .replay = replay}));
    for (int pass = 0; pass < 20; ++pass) {
      const auto loss = execution.loss_and_gradients(batch.view(), 1.0 / (1 + pass), gradients);
      if (!loss.ok()) {
        EXPECT_EQ(loss.status().message(), "launching a graph: CUDA: unspecified launch failure");
        return pass;
      }
      if (pass % 3 == 2) take(execution.loss_and_gradients(other.view(), 1, gradients));
    }
    return 20;
  };
  EXPECT_EQ(passes_until_it_fails("0", false), 20);
  const int first = passes_until_it_fails("0", true);
  EXPECT_LE(first, 2);
  EXPECT_EQ(passes_until_it_fails("5", true), first + 5);
}

// The chunks of a long sequence have two outlines, forward and back, beside those at its ends.
TEST(RecordedPass, TakesChunks) {
  const ModelConfig config = test::small_config();
  const OwnedBatch batch = random_batch(config, {32 * 40}, 1);
  const auto succeeds_with = [&](int replays) {
    const Model model = take(Model::create(config, stand_in(std::to_string(replays).c_str()), 5));
    Gradients gradients = take(Gradients::create(model));
    Execution execution =
        take(Execution::create(model, {.tokens = 32, .sequences = 8, .training = true}));
    return train(execution, gradients, batch, 1).ok();
  };
  EXPECT_TRUE(succeeds_with(80));
  EXPECT_FALSE(succeeds_with(60));
}

}  // namespace
}  // namespace tnl
