// tnl generate --save-state and --load-state as a user calls them, and the benchmarks of length.
#include <filesystem>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "apps/byte_model.h"
#include "core/file.h"
#include "support/command.h"
#include "support/require.h"
#include "support/temporary_directory.h"

namespace tnl {
namespace {

namespace fs = std::filesystem;
using test::CommandOutcome;
using test::run_command;
using test::take;

class SavedState : public ::testing::Test {
 protected:
  void SetUp() override { test::save_byte_model(path("model")); }

  std::string path(const std::string& name) const { return (directory.path() / name).string(); }

  CommandOutcome generate(std::vector<std::string> arguments, const char* model = "model") const {
    const std::vector<std::string> all = {"generate",     "--model",   path(model),
                                          "--ignore-eos", "--threads", "1"};
    arguments.insert(arguments.begin(), all.begin(), all.end());
    return run_command(arguments);
  }

  void refuses(const std::vector<std::string>& arguments, const std::string& words,
               const char* model = "model") const {
    const CommandOutcome outcome = generate(arguments, model);
    EXPECT_EQ(outcome.status, 2) << words;
    EXPECT_EQ(outcome.out, "");
    EXPECT_NE(outcome.error.find(words), std::string::npos) << outcome.error;
    EXPECT_EQ(std::count(outcome.error.begin(), outcome.error.end(), '\n'), 1) << outcome.error;
  }

  test::TemporaryDirectory directory;
};

TEST_F(SavedState, PartsAreTheWholeText) {
  const std::vector<std::string> options = {"--repetition-penalty", "1.2", "--stop", "qqqqqq"};
  const auto with = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), options.begin(), options.end());
    const CommandOutcome outcome = generate(arguments);
    EXPECT_EQ(outcome.status, 0) << outcome.error;
    return outcome.out;
  };
  const std::string whole = with({"-p", "Hello", "-n", "100", "--seed", "4"});
  const std::string state = path("state");
  std::string parts = with({"-p", "Hello", "-n", "0", "--seed", "4", "--save-state", state});
  EXPECT_EQ(parts, "");
  const auto size = fs::file_size(state);
  for (const char* tokens : {"1", "31", "17"}) {
    parts += with({"--load-state", state, "-n", tokens, "--save-state", state});
    EXPECT_EQ(fs::file_size(state), size);
  }
  EXPECT_EQ(parts + with({"--load-state", state, "-n", "51"}), whole);
  // The same branch again, and another.
  EXPECT_EQ(parts + with({"--load-state", state, "-n", "51"}), whole);
  EXPECT_NE(parts + with({"--load-state", state, "-n", "51", "--seed", "5"}), whole);
}

TEST_F(SavedState, APromptGoesOnWithTheText) {
  const std::vector<std::string> greedy = {"--temperature", "0", "--repetition-penalty", "1.3"};
  const auto with = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), greedy.begin(), greedy.end());
    return generate(arguments).out;
  };
  with({"-p", "One two", "-n", "0", "--save-state", path("state")});
  EXPECT_EQ(with({"--load-state", path("state"), "-p", " three", "-n", "40"}),
            with({"-p", "One two three", "-n", "40"}));
}

TEST_F(SavedState, WhatIsWrongIsSaidInASentence) {
  test::save_byte_model(path("other"), 2);
  const std::string state = path("state");
  EXPECT_EQ(generate({"-p", "x", "-n", "3", "--save-state", state}).status, 0);
  refuses({"--load-state", state, "-n", "3"}, "found a session of model", "other");
  refuses({"--load-state", state, "-n", "3", "--dtype", "bf16"}, "--dtype");
  refuses({"--load-state", path("none")}, "none");
  refuses({"--load-state", path("model/config.json")}, "found no saved session");
  std::string bytes = take(read_file(state));
  bytes[200] ^= 1;
  refuses({"--load-state", directory.write("damaged", bytes).string()}, "checksum");
  bytes.resize(5000);
  refuses({"--load-state", directory.write("short", bytes).string()}, "found 5000 bytes");
  refuses({"-p", "x", "--save-state", path("missing/state")}, "--save-state: ");
  refuses({"-p", "x", "--save-state", path("model")}, "is a directory");
  for (const auto& entry : fs::directory_iterator(directory.path())) {
    EXPECT_EQ(entry.path().string().find(".tmp."), std::string::npos) << entry.path();
  }
}

TEST_F(SavedState, InterruptedTextsAreSaved) {
  const std::string state = path("state");
  const test::Command running({"generate", "--model", path("model"), "--ignore-eos", "--threads",
                               "1", "--seed", "3", "-p", "x", "-n", "100000000", "--save-state",
                               state});
  ::usleep(500000);
  running.send(SIGINT);
  const CommandOutcome first = running.wait();
  if (!fs::exists(state)) GTEST_SKIP() << "interrupted before the first token";
  EXPECT_EQ(first.status, 130);
  const CommandOutcome second = generate({"--load-state", state, "-n", "50"});
  EXPECT_EQ(second.status, 0) << second.error;
  const std::string text = first.out + second.out;
  const CommandOutcome whole =
      generate({"-p", "x", "--seed", "3", "-n", std::to_string(4 * text.size() + 100)});
  EXPECT_EQ(whole.out.substr(0, text.size()), text);
}

TEST(SlowBenchLength, MemoryDoesNotGrowWithTheText) {
  const test::TemporaryDirectory directory;
  const CommandOutcome outcome = run_command(
      {"bench", "memory", "--threads", "1", "--sequence-chunk", "64", "--lengths", "64,1000",
       "--state-memory", "0", "--state-directory", directory.path().string(), "--json"});
  ASSERT_EQ(outcome.status, 0) << outcome.error;
  const auto json = nlohmann::json::parse(outcome.out);
  ASSERT_EQ(json["results"].size(), 2u);
  EXPECT_GT(json["results"][0]["peak_bytes"], 50 << 20);  // parameters, gradients, moments
  EXPECT_LE(json["largest_over_smallest_peak"], 1.1);
  EXPECT_TRUE(fs::is_empty(directory.path()));
  const CommandOutcome failed =
      run_command({"bench", "memory", "--threads", "1", "--lengths", "300", "--sequence-chunk",
                   "100", "--state-memory", "0", "--state-directory", "/nonexistent"});
  EXPECT_EQ(failed.status, 1);
  EXPECT_NE(failed.error.find("/nonexistent"), std::string::npos) << failed.error;
}

TEST(BenchLength, GenerationReportsEveryLength) {
  const CommandOutcome outcome = run_command(
      {"bench", "generate", "--threads", "1", "--lengths", "30,10", "--window", "5", "--json"});
  ASSERT_EQ(outcome.status, 0) << outcome.error;
  const auto json = nlohmann::json::parse(outcome.out);
  ASSERT_EQ(json["results"].size(), 2u);
  EXPECT_EQ(json["results"][0]["length"], 10);
  EXPECT_EQ(json["results"][1]["length"], 30);
  EXPECT_GT(json["results"][1]["seconds_per_token"], 0);
}

}  // namespace
}  // namespace tnl
