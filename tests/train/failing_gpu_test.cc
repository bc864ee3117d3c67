// Training where the GPU fails, on a stand-in for one (support/failing_gpu.cc).
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <utility>

#include "train/tiny_run.h"

namespace tnl {
namespace {

namespace fs = std::filesystem;
using test::take;
using test::TinyRun;

class FailingGpuTest : public testing::Test {
 protected:
  using Variables = std::map<std::string, std::string>;

  static Device device_with(Variables variables) {
    variables["TNL_CUDA_LIBRARY"] = TNL_FAILING_GPU;
    for (const auto& [name, value] : variables) ::setenv(name.c_str(), value.c_str(), 1);
    Device device = take(Device::open("cuda:0", {.threads = 1, .cpu_target = ""}));
    for (const auto& [name, value] : variables) ::unsetenv(name.c_str());
    return device;
  }
};

TEST_F(FailingGpuTest, ADriverErrorEndsTheRunAndLeavesTheLastCheckpoint) {
  TinyRun whole;
  whole.device = device_with({});
  take(whole.start("whole"));
  // Whatever copy fails, what is there can be resumed to the bits of the run that did not fail.
  int failed = 0, resumed = 0;
  for (int copies = 0; copies < 400; copies += 7) {
    TinyRun tiny;
    tiny.device = device_with({{"TNL_TEST_GPU_COPIES", std::to_string(copies)}});
    const auto result = tiny.start("run");
    if (result.ok()) break;
    ++failed;
    EXPECT_EQ(result.status().code(), StatusCode::kInternal);
    EXPECT_EQ(result.status().message(), "copying from the GPU: CUDA: unspecified launch failure");
    if (!fs::exists(tiny.run("run") / "run.json")) continue;
    tiny.device = device_with({});
    EXPECT_TRUE(take(tiny.resume("run")).finished);
    EXPECT_EQ(tiny.parameters("run"), whole.parameters("whole")) << copies;
    test::expect_same_metrics(tiny.metrics("run"), whole.metrics("whole"));
    ++resumed;
  }
  EXPECT_GT(failed, 3);
  EXPECT_GT(resumed, 2);
}

TEST_F(FailingGpuTest, ReplayedPassesAreTheRunWithoutThem) {
  const auto make_run = [&](Device device) {
    auto tiny = std::make_unique<TinyRun>(test::long_documents(6), 0.4);
    tiny->config.accumulate = 3;
    tiny->config.eval_tokens = 200;
    tiny->device = std::move(device);
    return tiny;
  };
  const auto cpu = make_run(take(Device::open("cpu", {.threads = 1, .cpu_target = "generic"})));
  take(cpu->start("run"));
  int failed = 0, resumed = 0;
  for (int replays = 0;; replays += 2) {
    ASSERT_LT(replays, 100);
    const auto tiny = make_run(device_with({{"TNL_TEST_GPU_REPLAYS", std::to_string(replays)}}));
    const auto result = tiny->start("run");
    if (!result.ok()) {
      ++failed;
      EXPECT_EQ(result.status().message(), "launching a graph: CUDA: unspecified launch failure");
      tiny->device = device_with({});
      if (!fs::exists(tiny->run("run") / "checkpoints" / "step-00000003")) continue;
      EXPECT_TRUE(take(tiny->resume("run")).finished);
      ++resumed;
    }
    EXPECT_EQ(tiny->parameters("run"), cpu->parameters("run")) << replays;
    test::expect_same_metrics(tiny->metrics("run"), cpu->metrics("run"));
    if (result.ok()) break;
  }
  EXPECT_GT(failed, 3);
  EXPECT_GT(resumed, 1);
}

TEST_F(FailingGpuTest, WhatDoesNotFitIsSaidBeforeAnythingIsWritten) {
  TinyRun tiny;
  tiny.device = device_with({});
  constexpr std::size_t kSlack = 8192;  // workspace of many short sequences
  std::size_t needed = 0;
  for (const MemoryItem& item : take(train_memory(tiny.config, tiny.device))) needed += item.bytes;
  tiny.device = device_with({{"TNL_TEST_GPU_MEMORY", std::to_string(needed + kSlack)}});
  EXPECT_TRUE(take(tiny.start("fits")).finished);

  // Sequences longer than a pass take states between chunks too.
  TinyRun chunked;
  chunked.config.sequence_chunk = 16;
  chunked.device = device_with({});
  std::size_t in_chunks = 0;
  for (const MemoryItem& item : take(train_memory(chunked.config, chunked.device))) {
    in_chunks += item.bytes;
  }
  EXPECT_LT(in_chunks, needed);
  chunked.device = device_with({{"TNL_TEST_GPU_MEMORY", std::to_string(in_chunks + kSlack)}});
  EXPECT_TRUE(take(chunked.start("fits")).finished);

  tiny.device = device_with({{"TNL_TEST_GPU_MEMORY", std::to_string(needed - 1)}});
  const auto result = tiny.start("run");
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.status().code(), StatusCode::kUnavailable);
  const std::string& sentence = result.status().message();
  EXPECT_TRUE(sentence.starts_with("out of memory on cuda:0: the run takes ")) << sentence;
  EXPECT_NE(sentence.find("are free; it fits with --recompute selective"), std::string::npos)
      << sentence;
  EXPECT_FALSE(fs::exists(tiny.run("run")));

  // What the sentence names does help.
  tiny.config.recompute = "selective";
  EXPECT_TRUE(take(tiny.start("selective")).finished);

  tiny.config.recompute = "none";
  tiny.device = device_with({{"TNL_TEST_GPU_MEMORY", "1000"}});
  const std::string hopeless = tiny.start("run").status().message();
  EXPECT_NE(hopeless.find("a smaller model"), std::string::npos) << hopeless;
}

TEST_F(FailingGpuTest, WhatTheDeviceHasChosenGoesWithTheCheckpoint) {
  TinyRun tiny;
  tiny.device = device_with({{"TNL_TEST_GPU_CHOICE", "abc"}});
  take(tiny.start("run", [](const TrainProgress& p) { return p.step < 2; }));
  tiny.device = device_with({{"TNL_TEST_GPU_CHOICE", "x"}});
  take(tiny.resume("run", [](const TrainProgress& p) { return p.step < 4; }));
  const fs::path kept = tiny.run("run") / "checkpoints" / "step-00000004" / "choices.txt";
  EXPECT_EQ(test::file_bytes(kept), "abc");

  // Damage is found before it is used.
  std::ofstream(kept) << "xyz";
  std::vector<std::string> notes;
  const auto show = [&](const TrainProgress& p) {
    notes.insert(notes.end(), p.notes.begin(), p.notes.end());
    return p.step < 5;
  };
  take(tiny.resume("run", show));
  ASSERT_FALSE(notes.empty());
  EXPECT_NE(notes[0].find("step-00000004 is not whole and is passed over"), std::string::npos)
      << notes[0];
}

TEST_F(FailingGpuTest, ChoicesThatCannotBeUsedAreSaid) {
  TinyRun tiny;
  tiny.device = device_with({{"TNL_TEST_GPU_CHOICE", "ABC"}});
  take(tiny.start("bad", [](const TrainProgress& p) { return p.step < 2; }));
  const auto bad = tiny.resume("bad");
  ASSERT_FALSE(bad.ok());
  EXPECT_EQ(bad.status().code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(bad.status().message().ends_with("choices.txt: found no word in lower case"))
      << bad.status().message();

  tiny.device = device_with({{"TNL_TEST_GPU_CHOICE", "longer"}});
  take(tiny.start("other", [](const TrainProgress& p) { return p.step < 2; }));
  std::vector<std::string> notes;
  take(tiny.resume("other", [&](const TrainProgress& p) {
    notes.insert(notes.end(), p.notes.begin(), p.notes.end());
    return true;
  }));
  ASSERT_FALSE(notes.empty());
  EXPECT_EQ(notes[0],
            "the checkpoint was computed with longer words: the run goes on, but not bit for bit");
}

}  // namespace
}  // namespace tnl
