// tnl generate and tnl eval as a user calls them.
#include <sys/wait.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "apps/byte_model.h"
#include "core/file.h"
#include "support/require.h"
#include "support/temporary_directory.h"

namespace tnl {
namespace {

struct Outcome {
  int status = -1;
  std::string out, error;
};

class GenerateEval : public ::testing::Test {
 protected:
  void SetUp() override {
    test::save_byte_model(path("run/model"));
    directory.write("run/run.json", "{}");
  }

  std::string path(const std::string& name) const { return (directory.path() / name).string(); }

  // `arguments` go through the shell; {} stands for the directory.
  Outcome tnl(const std::string& arguments, const std::string& before = "") const {
    std::string line = before + " " + TNL_COMMAND + " " + arguments;
    for (std::size_t at; (at = line.find("{}")) != std::string::npos;) {
      line.replace(at, 2, directory.path().string());
    }
    const std::string redirected =
        fmt::format("( {} ) > {} 2> {}", line, path("stdout"), path("stderr"));
    const int raw = std::system(redirected.c_str());
    Outcome outcome;
    outcome.status = WIFEXITED(raw) ? WEXITSTATUS(raw) : -1;
    outcome.out = test::take(read_file(path("stdout")));
    outcome.error = test::take(read_file(path("stderr")));
    return outcome;
  }

  void refuses(const std::string& arguments, const std::string& words) const {
    const Outcome outcome = tnl(arguments);
    EXPECT_EQ(outcome.status, 2) << arguments;
    EXPECT_NE(outcome.error.find(words), std::string::npos) << arguments << ": " << outcome.error;
    EXPECT_EQ(outcome.out, "") << arguments;
  }

  test::TemporaryDirectory directory;
};

TEST_F(GenerateEval, TheSeedDecidesTheText) {
  const std::string arguments = "generate --model {}/run -p Hello -n 40 --ignore-eos --seed ";
  const Outcome first = tnl(arguments + "3 -v");
  EXPECT_EQ(first.status, 0) << first.error;
  EXPECT_GE(first.out.size(), 40u);
  EXPECT_NE(first.error.find("prompt 5 tokens"), std::string::npos) << first.error;
  EXPECT_NE(first.error.find("text 40 tokens"), std::string::npos) << first.error;
  EXPECT_NE(first.error.find("seed 3"), std::string::npos) << first.error;
  const Outcome again = tnl(arguments + "3");
  EXPECT_EQ(again.out, first.out);
  EXPECT_EQ(again.error, "");
  EXPECT_NE(tnl(arguments + "4").out, first.out);
}

TEST_F(GenerateEval, ThePromptComesFromWhereItIs) {
  const std::string rest = " -n 20 --temperature 0 --ignore-eos --repetition-penalty 1.3";
  const Outcome given = tnl("generate --model {}/run/model -p 'two words'" + rest);
  EXPECT_EQ(given.status, 0) << given.error;
  EXPECT_EQ(tnl("generate --model {}/run" + rest, "echo two words |").out, given.out);
  directory.write("prompt.txt", "two words\n");
  EXPECT_EQ(tnl("generate --model {}/run --prompt-file {}/prompt.txt" + rest).out, given.out);
  const Outcome none = tnl("generate --model {}/run" + rest + " < /dev/null");
  EXPECT_EQ(none.status, 0) << none.error;  // begins with bos
  EXPECT_EQ(tnl("generate --model {}/run -p ''" + rest).out, none.out);
}

TEST_F(GenerateEval, StopsBeforeAStopString) {
  const std::string arguments = "generate --model {}/run -p x -n 200 --seed 9";
  const std::string text = tnl(arguments).out;
  std::string stop;
  for (std::size_t i = 60; i < text.size() && stop.empty(); ++i) {
    if (std::isalnum(static_cast<unsigned char>(text[i])) != 0) stop = text[i];
  }
  ASSERT_FALSE(stop.empty());
  const Outcome stopped = tnl(arguments + " --stop qqqqqqqq --stop " + stop + " -v");
  EXPECT_EQ(stopped.out, text.substr(0, text.find(stop)));
  EXPECT_NE(stopped.error.find("stop string"), std::string::npos) << stopped.error;
}

TEST_F(GenerateEval, GenerateRefusesWithASentence) {
  const std::string model = "generate --model {}/run -p x ";
  refuses(model + "--temperature=-1", "temperature is -1");
  refuses(model + "--temperature=nan", "temperature is nan");
  refuses(model + "--top-k=-1", "top_k is -1");
  refuses(model + "--top-p=0", "top_p is 0");
  refuses(model + "--min-p=2", "min_p is 2");
  refuses(model + "--repetition-penalty=0", "repetition_penalty is 0");
  refuses(model + "--penalty-window=5000", "penalty_window is 5000");
  refuses(model + "--max-tokens=-1", "max_tokens is -1");
  refuses(model + "--max-tokens=many", "max-tokens");
  refuses(model + "--stop ''", "stop string 1 is empty");
  refuses(model + "--seed=-1", "seed");
  refuses(model + "--dtype=f8", "dtype");
  refuses(model + "--tokenizer {}/none", "none");
  refuses(model + "--prompt-file x", "--prompt");
  refuses("generate -p x", "--model");
  refuses("generate --model {}/missing -p x", "missing is not a directory");
  refuses("generate --model {}/run --prompt-file {}/missing", "missing");
  directory.write("file", "");
  refuses("generate --model {}/file -p x", "file is not a directory");
  std::filesystem::create_directories(path("empty"));
  refuses("generate --model {}/empty -p x", "empty holds no config.json");
  directory.write("empty/run.json", "{}");
  refuses("generate --model {}/empty -p x", "has no model yet");
  std::filesystem::copy(path("run/model"), path("bare"));
  std::filesystem::remove(path("bare/tnl_tokenizer.json"));
  refuses("generate --model {}/bare -p x", "--tokenizer");
  EXPECT_EQ(tnl("generate --model {}/bare -p x -n 3 --tokenizer bytes").status, 0);
  refuses("generate --model " TNL_TEST_DATA "/tnl-a -p x --tokenizer bytes",
          "they do not belong together");
}

TEST_F(GenerateEval, AnInterruptEndsTheText) {
  const Outcome outcome = tnl("generate --model {}/run -p x --ignore-eos -n 1000000000 -v",
                              "timeout --preserve-status -s INT 2");
  EXPECT_EQ(outcome.status, 130) << outcome.error;
}

TEST_F(GenerateEval, EvaluatesAFileAndAStream) {
  std::string text;
  for (int line = 0; line < 400; ++line) text += fmt::format("line {} of the text\n", line);
  directory.write("text.txt", text);
  const Outcome file = tnl("eval --model {}/run --text {}/text.txt --json");
  ASSERT_EQ(file.status, 0) << file.error;
  auto json = nlohmann::json::parse(file.out);
  EXPECT_EQ(json["bytes"], text.size());
  EXPECT_EQ(json["tokens"], text.size());
  const double nats = json["nats_per_token"];
  EXPECT_GT(nats, 1);
  EXPECT_LT(nats, 10);
  EXPECT_NEAR(json["perplexity"].get<double>(), std::exp(nats), 1e-9 * std::exp(nats));
  EXPECT_NEAR(json["bits_per_byte"].get<double>(), nats / std::log(2.0), 1e-9);
  EXPECT_GT(json["tokens_per_second"].get<double>(), 0);
  EXPECT_TRUE(json["lossless_tokenizer"].get<bool>());

  const Outcome stream = tnl("eval --model {}/run --text - --json --chunk 100 < {}/text.txt");
  ASSERT_EQ(stream.status, 0) << stream.error;
  json = nlohmann::json::parse(stream.out);
  EXPECT_NEAR(json["nats_per_token"].get<double>(), nats, 1e-6 * nats);

  const Outcome plain = tnl("eval --model {}/run --text {}/text.txt");
  EXPECT_NE(plain.out.find(fmt::format("nats/token      {:.5f}", nats).substr(0, 20)),
            std::string::npos)
      << plain.out;
  EXPECT_NE(plain.error.find("eval "), std::string::npos);  // progress
}

TEST_F(GenerateEval, EvalRefusesWithASentence) {
  directory.write("empty.txt", "");
  directory.write("text.txt", "text");
  refuses("eval --model {}/run --text {}/empty.txt", "empty.txt: the text is empty");
  refuses("eval --model {}/run --text - < /dev/null", "standard input: the text is empty");
  refuses("eval --model {}/run --text {}/missing.txt", "missing.txt");
  refuses("eval --model {}/run --text {}", "expected a text file");
  refuses("eval --model {}/run", "--text");
  refuses("eval --model {}/run --text {}/text.txt --chunk 0", "chunk");
  refuses("eval --model {}/missing --text {}/text.txt", "missing is not a directory");
  refuses("eval --model " TNL_TEST_DATA "/tnl-a --tokenizer bytes --text {}/text.txt",
          "they do not belong together");
}

}  // namespace
}  // namespace tnl
