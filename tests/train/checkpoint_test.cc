#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <functional>
#include <string>

#include "core/file.h"
#include "core/rng.h"
#include "model/execution.h"
#include "support/require.h"
#include "support/temporary_directory.h"
#include "tnl/model.h"
#include "train/checkpoint.h"

namespace tnl {
namespace {

namespace fs = std::filesystem;
using test::take;
using test::TemporaryDirectory;

ModelConfig tiny_config() {
  ModelConfig config;
  config.vocab_size = 11;
  config.width = config.hidden = 8;
  config.layers = 2;
  config.heads = 2;
  config.glu = 8;
  config.lrpe = {1, 0};
  return config;
}

// A model with an optimizer whose moments are all different.
struct Training {
  Device device = take(Device::open("cpu"));
  Model model;
  Gradients gradients;
  Optimizer optimizer;

  explicit Training(std::uint64_t seed = 1)
      : model(take(Model::create(tiny_config(), device, seed))),
        gradients(take(Gradients::create(model))),
        optimizer(take(Optimizer::create(device, optimizer_tensors(model, model, gradients), {}))) {
  }

  void step(std::uint64_t seed) {
    Rng rng(seed);
    for (float& g : gradients.flat()) g = static_cast<float>(rng.normal());
    ASSERT_TRUE(optimizer.step(0.01).applied);
  }
};

CheckpointState state_at(std::int64_t step) {
  CheckpointState state;
  state.step = step;
  state.updates = step - 1;
  state.skipped = 1;
  state.seconds = 0.1 * static_cast<double>(step);
  state.loader = "3 1 4 1 5";
  state.dataset_fingerprint = "data";
  state.config_fingerprint = "config";
  state.device = "cpu";
  return state;
}

std::vector<std::string> names_in(const fs::path& directory) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

struct RunCase {
  TemporaryDirectory directory;
  RunDirectory run{directory.path()};
  Training training;
  std::vector<std::string> notes;

  void write(std::int64_t step, std::int64_t keep = 10) {
    EXPECT_OK(write_checkpoint(run, state_at(step), training.model, training.optimizer, keep));
  }
  fs::path step_path(std::int64_t step) {
    return run.checkpoints() / ("step-0000000" + std::to_string(step));
  }
};

TEST(Checkpoint, GivesBackEveryBit) {
  RunCase r;
  r.training.step(5);
  r.training.step(6);
  r.write(3);
  EXPECT_EQ(names_in(r.step_path(3)),
            (std::vector<std::string>{"config.json", "model.safetensors", "optimizer.safetensors",
                                      "state.json"}));
  const auto found = take(find_checkpoint(r.run, r.notes));
  ASSERT_TRUE(found.has_value());
  EXPECT_TRUE(r.notes.empty());
  EXPECT_EQ(found->state.step, 3);
  EXPECT_EQ(found->state.updates, 2);
  EXPECT_EQ(found->state.skipped, 1);
  EXPECT_EQ(found->state.seconds, 0.1 * 3.0);
  EXPECT_EQ(found->state.loader, "3 1 4 1 5");
  EXPECT_EQ(found->state.held_out_loss, -1);

  Training other(2);
  EXPECT_OK(read_optimizer(*found, other.optimizer));
  EXPECT_EQ(other.optimizer.updates(), 2);
  const auto written = r.training.optimizer.moments();
  const auto read = other.optimizer.moments();
  ASSERT_EQ(written.size(), read.size());
  for (std::size_t i = 0; i < read.size(); ++i) {
    EXPECT_EQ(
        std::memcmp(written[i].values.data(), read[i].values.data(), read[i].values.size_bytes()),
        0)
        << read[i].name;
  }
  const Model model = take(Model::load(found->directory, other.device, {.dtype = DType::kF32}));
  for (std::size_t i = 0; i < model.parameters().size(); ++i) {
    const TensorView& a = model.parameters()[i].view;
    const TensorView& b = r.training.model.parameters()[i].view;
    EXPECT_EQ(std::memcmp(a.data, b.data, static_cast<std::size_t>(a.elements()) * 4), 0);
  }
}

TEST(Checkpoint, KeepsTheNewest) {
  RunCase r;
  for (const std::int64_t step : {1, 2, 3, 4}) r.write(step, 2);
  EXPECT_EQ(names_in(r.run.checkpoints()),
            (std::vector<std::string>{"step-00000003", "step-00000004"}));
}

TEST(Checkpoint, ReplacesOneOfTheSameStep) {
  RunCase r;
  r.write(3);
  r.training.step(1);
  r.write(3);
  EXPECT_EQ(names_in(r.run.checkpoints()), std::vector<std::string>{"step-00000003"});
  const auto found = take(find_checkpoint(r.run, r.notes));
  Training other(2);
  EXPECT_OK(read_optimizer(*found, other.optimizer));
  EXPECT_NE(other.optimizer.moments()[0].values[20], 0);
}

TEST(Checkpoint, FindsNoneInANewRun) {
  RunCase r;
  EXPECT_FALSE(take(find_checkpoint(r.run, r.notes)).has_value());
}

// What a kill, a full disk or a bad disk may leave of the newest checkpoint.
TEST(Checkpoint, PassesOverADamagedOne) {
  using Damage = std::function<void(const fs::path&)>;
  const auto flip = [](const fs::path& path, std::int64_t at) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(at);
    const char byte = static_cast<char>(file.get() ^ 1);
    file.seekp(at);
    file.put(byte);
  };
  const std::vector<std::pair<const char*, Damage>> damages = {
      {"no state", [](const fs::path& p) { fs::remove(p / "state.json"); }},
      {"empty state", [](const fs::path& p) { fs::resize_file(p / "state.json", 0); }},
      {"torn state", [](const fs::path& p) { fs::resize_file(p / "state.json", 100); }},
      {"no model", [](const fs::path& p) { fs::remove(p / "model.safetensors"); }},
      {"short model", [](const fs::path& p) { fs::resize_file(p / "model.safetensors", 999); }},
      {"flipped bit", [&](const fs::path& p) { flip(p / "model.safetensors", 1500); }},
      {"short moments",
       [](const fs::path& p) { fs::resize_file(p / "optimizer.safetensors", 999); }},
      {"changed config", [](const fs::path& p) { std::ofstream(p / "config.json") << "{}"; }},
      {"nothing in it",
       [](const fs::path& p) {
         fs::remove_all(p);
         fs::create_directory(p);
       }},
      {"a file", [](const fs::path& p) {
         fs::remove_all(p);
         std::ofstream(p) << "x";
       }}};
  for (const auto& [name, damage] : damages) {
    RunCase r;
    r.write(3);
    r.write(5);
    damage(r.step_path(5));
    const auto found = take(find_checkpoint(r.run, r.notes));
    ASSERT_TRUE(found.has_value()) << name;
    EXPECT_EQ(found->state.step, 3) << name;
    ASSERT_EQ(r.notes.size(), 1u) << name;
    EXPECT_NE(r.notes[0].find("step-00000005"), std::string::npos) << r.notes[0];
    // The damaged one neither counts among the kept nor is it in the way.
    r.write(4, 1);
    EXPECT_EQ(take(find_checkpoint(r.run, r.notes))->state.step, 4) << name;
    r.write(5, 1);
    EXPECT_EQ(take(find_checkpoint(r.run, r.notes))->state.step, 5) << name;
  }
}

TEST(Checkpoint, SaysWhereNoneIsWhole) {
  RunCase r;
  r.write(3);
  fs::resize_file(r.step_path(3) / "model.safetensors", 10);
  const auto found = find_checkpoint(r.run, r.notes);
  ASSERT_FALSE(found.ok());
  EXPECT_NE(found.status().message().find("no whole checkpoint"), std::string::npos);
}

// Counts that no run can have.
TEST(Checkpoint, PassesOverCountsOutOfRange) {
  for (const char* count : {"-1", "9223372036854775808", "1.5", "null"}) {
    RunCase r;
    r.write(3);
    r.write(5);
    const fs::path state = r.step_path(5) / "state.json";
    std::string text = take(read_file(state));
    const std::size_t at = text.find("\"updates\": 4");
    ASSERT_NE(at, std::string::npos);
    std::ofstream(state) << text.replace(at, 12, std::string("\"updates\": ") + count);
    EXPECT_EQ(take(find_checkpoint(r.run, r.notes))->state.step, 3) << count;
  }
}

TEST(Checkpoint, IgnoresAndRemovesWhatAKilledWriterLeft) {
  RunCase r;
  r.write(3);
  fs::copy(r.step_path(3), r.run.checkpoints() / "step-00000009.tmp.4711");
  fs::create_directory(r.run.root / "model.tmp.4711");
  std::ofstream(r.run.root / "run.json.tmp.4711") << "x";
  EXPECT_EQ(take(find_checkpoint(r.run, r.notes))->state.step, 3);
  EXPECT_TRUE(r.notes.empty());
  remove_leftovers(r.run);
  EXPECT_EQ(names_in(r.run.checkpoints()), std::vector<std::string>{"step-00000003"});
  EXPECT_EQ(names_in(r.run.root), std::vector<std::string>{"checkpoints"});
}

TEST(StagedDirectory, LeavesThePlaceAloneUntilPublished) {
  const TemporaryDirectory directory;
  const fs::path place = directory.path() / "model";
  const auto stage = [&](const char* content, bool publish) {
    StagedDirectory staged = take(StagedDirectory::create(place));
    std::ofstream(staged.path() / content) << content;
    if (publish) EXPECT_OK(staged.publish());
  };
  stage("dropped", false);
  EXPECT_TRUE(names_in(directory.path()).empty());
  stage("one", true);
  EXPECT_EQ(names_in(place), std::vector<std::string>{"one"});
  stage("dropped", false);
  stage("two", true);
  EXPECT_EQ(names_in(place), std::vector<std::string>{"two"});
  EXPECT_EQ(names_in(directory.path()), std::vector<std::string>{"model"});
}

TEST(RunLock, KeepsASecondProcessOut) {
  const TemporaryDirectory directory;
  const RunDirectory run{directory.path()};
  {
    const RunLock first = take(RunLock::take(run));
    const auto second = RunLock::take(run);
    ASSERT_FALSE(second.ok());
    EXPECT_EQ(second.status().code(), StatusCode::kInvalidArgument);
  }
  EXPECT_TRUE(RunLock::take(run).ok());
}

TEST(ConfigFingerprint, LooksAtWhatDecidesTheNumbers) {
  TrainConfig config;
  const std::string fingerprint = config_fingerprint(config);
  config.data = "/elsewhere";
  config.checkpoint_every = 7;
  EXPECT_EQ(config_fingerprint(config), fingerprint);
  config.learning_rate *= 1.0000001;
  EXPECT_NE(config_fingerprint(config), fingerprint);
}

}  // namespace
}  // namespace tnl
