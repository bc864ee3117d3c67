// tnl generate --prompts as a user calls it.
#include <csignal>
#include <filesystem>
#include <sstream>
#include <thread>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "apps/byte_model.h"
#include "core/file.h"
#include "support/command.h"
#include "support/require.h"
#include "support/temporary_directory.h"

namespace tnl {
namespace {

using Json = nlohmann::json;
using test::CommandOutcome;
using test::run_command;
using test::take;

class GenerateBatch : public ::testing::Test {
 protected:
  void SetUp() override { test::save_byte_model(path("model")); }

  std::string path(const std::string& name) const { return (directory.path() / name).string(); }

  std::vector<std::string> command(const std::vector<std::string>& more) const {
    std::vector<std::string> all = {"generate", "--model", path("model"), "--threads", "1"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }

  static std::vector<Json> lines(const std::string& text) {
    std::vector<Json> result;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) result.push_back(Json::parse(line));
    return result;
  }

  test::TemporaryDirectory directory;
};

TEST_F(GenerateBatch, GivesEveryPromptTheTextItGetsAlone) {
  const std::vector<std::string> prompts = {"Once upon a time", "a", "The sea was calm and", "xyz"};
  std::string text;
  for (const std::string& prompt : prompts) text += prompt + "\n\n";  // blank lines are none
  EXPECT_OK(write_file(path("prompts.txt"), text));
  const CommandOutcome batch = run_command(
      command({"--prompts", path("prompts.txt"), "-n", "30", "--seed", "5", "--batch", "3"}));
  ASSERT_EQ(batch.status, 0) << batch.error;
  const std::vector<Json> texts = lines(batch.out);
  ASSERT_EQ(texts.size(), prompts.size());
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    EXPECT_EQ(texts[i]["prompt"], i);
    EXPECT_EQ(texts[i]["seed"], 5 + i);
    EXPECT_FALSE(texts[i].contains("id"));
    const CommandOutcome alone =
        run_command(command({"-p", prompts[i], "-n", "30", "--seed", std::to_string(5 + i)}));
    EXPECT_EQ(texts[i]["text"], alone.out);
  }
}

TEST_F(GenerateBatch, ReadsObjectsAndWritesAFile) {
  EXPECT_OK(write_file(path("prompts.jsonl"),
                       "{\"prompt\": \"one\\ntwo\", \"seed\": 9, \"id\": \"first\"}\r\n"
                       "{\"id\": 2, \"prompt\": \"\\u00e9\"}\n"));
  const CommandOutcome outcome =
      run_command(command({"--prompts", path("prompts.jsonl"), "-n", "12", "--seed", "3",
                           "--output", path("texts.jsonl"), "--ignore-eos", "-v"}));
  ASSERT_EQ(outcome.status, 0) << outcome.error;
  EXPECT_EQ(outcome.out, "");
  EXPECT_NE(outcome.error.find("2 texts, 24 tokens"), std::string::npos) << outcome.error;
  const std::vector<Json> texts = lines(take(read_file(path("texts.jsonl"))));
  ASSERT_EQ(texts.size(), 2u);
  EXPECT_EQ(texts[0]["id"], "first");
  EXPECT_EQ(texts[0]["seed"], 9);
  EXPECT_EQ(texts[0]["tokens"], 12);
  EXPECT_EQ(texts[0]["reason"], "max_tokens");
  EXPECT_EQ(texts[1]["id"], 2);
  EXPECT_EQ(texts[1]["seed"], 4);  // that of the call and the place
}

TEST_F(GenerateBatch, KeepsWhatEndedWhenInterrupted) {
  std::string text = "{\"prompt\": \"short\"}\n";
  for (int i = 0; i < 3; ++i) text += "{\"prompt\": \"long\"}\n";
  EXPECT_OK(write_file(path("prompts.jsonl"), text));
  const test::Command running(command({"--prompts", path("prompts.jsonl"), "-n", "100000000",
                                       "--output", path("texts.jsonl"), "--ignore-eos"}));
  // Its temporary file is there once it runs; a moment later it generates.
  const auto started = [&] {
    for (const auto& entry : std::filesystem::directory_iterator(directory.path())) {
      if (entry.path().filename().string().starts_with("texts.jsonl.tmp")) return true;
    }
    return false;
  };
  while (!started()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  running.send(SIGINT);
  const CommandOutcome outcome = running.wait();
  EXPECT_EQ(outcome.status, 130) << outcome.error;
  EXPECT_NE(outcome.error.find("interrupted: 0 of 4 texts are written"), std::string::npos)
      << outcome.error;
  EXPECT_EQ(take(read_file(path("texts.jsonl"))), "");
}

}  // namespace
}  // namespace tnl
