// tnl eval --task and tnl tokenizer convert as a user calls them.
#include <cmath>
#include <sstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "apps/byte_model.h"
#include "core/file.h"
#include "support/command.h"
#include "support/require.h"

namespace tnl::test {
namespace {

class EvalTask : public ::testing::Test {
 protected:
  void SetUp() override {
    save_byte_model(directory / "model");
    directory.write("items.jsonl",
                    R"({"context": "one", "choices": ["two", "three"], "gold": 1, "subject": "n"}
{"contexts": ["x", "y"], "continuation": "z", "gold": 0, "subject": "l"}
)");
    directory.write("words.jsonl", R"({"context": "one", "continuation": "two"}
{"context": "two", "continuation": "three"}
)");
  }
  CommandOutcome eval(const std::string& task, std::vector<std::string> more = {}) const {
    std::vector<std::string> arguments = {"eval", "--model", (directory / "model").string(),
                                          "--task", (directory / task).string()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_command(arguments);
  }
  void refuses(const CommandOutcome& outcome, const std::string& words) const {
    EXPECT_EQ(outcome.status, 2);
    EXPECT_EQ(outcome.out, "");
    EXPECT_NE(outcome.error.find(words), std::string::npos) << outcome.error;
  }
  TemporaryDirectory directory;
};

TEST_F(EvalTask, ScoresItemsAndSaysSo) {
  const std::string samples = (directory / "samples.jsonl").string();
  const CommandOutcome outcome = eval("items.jsonl", {"--json", "--samples", samples});
  ASSERT_EQ(outcome.status, 0) << outcome.error;
  const auto json = nlohmann::json::parse(outcome.out);
  EXPECT_EQ(json["items"], 2);
  EXPECT_EQ(json["format"], "items");
  ASSERT_EQ(json["subjects"].size(), 2u);
  const double mean = json["acc"]["value"];
  EXPECT_NEAR(json["acc"]["stderr"].get<double>(), std::sqrt(mean * (1 - mean)), 1e-12);
  std::istringstream lines(take(read_file(samples)));
  std::string line;
  double right = 0;
  for (int item = 1; item <= 2; ++item) {
    ASSERT_TRUE(std::getline(lines, line));
    const auto sample = nlohmann::json::parse(line);
    EXPECT_EQ(sample["item"], item);
    const auto values = sample["log_likelihoods"].get<std::vector<double>>();
    ASSERT_EQ(values.size(), 2u);
    EXPECT_EQ(sample["chosen"], values[1] > values[0] ? 1 : 0);
    right += sample["right"].get<bool>() ? 1 : 0;
  }
  EXPECT_EQ(mean, right / 2);
  const CommandOutcome table = eval("items.jsonl");
  EXPECT_EQ(table.status, 0) << table.error;
  EXPECT_NE(table.out.find("acc_norm %"), std::string::npos) << table.out;
  EXPECT_NE(table.out.find("\nall "), std::string::npos) << table.out;
}

TEST_F(EvalTask, LastWordsHaveAPerplexity) {
  const CommandOutcome outcome = eval("words.jsonl", {"--json", "--task-format", "lambada"});
  ASSERT_EQ(outcome.status, 0) << outcome.error;
  const auto json = nlohmann::json::parse(outcome.out);
  EXPECT_GT(json["perplexity"]["value"].get<double>(), 1);
  EXPECT_FALSE(json.contains("acc_norm"));
  EXPECT_NE(eval("words.jsonl").out.find("perplexity"), std::string::npos);
}

TEST_F(EvalTask, ExamplesAndLimit) {
  const std::string examples = (directory / "words.jsonl").string();
  auto json = nlohmann::json::parse(
      eval("words.jsonl", {"--json", "--shots", "2", "--examples", examples, "--limit", "1"}).out);
  EXPECT_EQ(json["items"], 1);
  EXPECT_EQ(json["shots"], 2);
  refuses(eval("words.jsonl", {"--shots", "3", "--examples", examples}),
          "2 examples, expected at least 3");
  refuses(eval("words.jsonl", {"--shots", "1"}), "no file to take them from");
}

TEST_F(EvalTask, RefusesWithASentence) {
  directory.write("bad.jsonl", "{}\n");
  refuses(eval("bad.jsonl"), "bad.jsonl, line 1: expected either context or contexts");
  refuses(eval("missing.jsonl"), "missing.jsonl");
  refuses(eval("items.jsonl", {"--task-format", "squad"}), "task-format");
  refuses(eval("items.jsonl", {"--text", "x"}), "either --text or --task");
  refuses(run_command({"eval", "--model", (directory / "model").string()}),
          "either --text or --task");
  refuses(eval("items.jsonl", {"--samples", (directory / "no/such/file").string()}),
          "no/such/file");
}

TEST_F(EvalTask, ConvertRefusesWhatIsNoGguf) {
  directory.write("x.gguf", "GGUG");
  const std::string output = (directory / "x.model").string();
  refuses(run_command({"tokenizer", "convert", (directory / "x.gguf").string(), "-o", output}),
          "x.gguf: no GGUF file");
  EXPECT_FALSE(std::filesystem::exists(output));
}

}  // namespace
}  // namespace tnl::test
