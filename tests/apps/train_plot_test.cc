// tnl train and tnl plot as a user calls them.
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "support/command.h"
#include "train/config.h"
#include "train/tiny_run.h"

namespace tnl {
namespace {

namespace fs = std::filesystem;
using test::Command;
using test::CommandOutcome;
using test::run_command;
using test::TinyRun;

class TrainPlot : public ::testing::Test {
 protected:
  std::string path(const std::string& name) const {
    return (tiny.directory.path() / name).string();
  }
  // A run of the tiny data in `name`, with more flags behind.
  std::vector<std::string> train(const std::string& name, std::vector<std::string> more = {}) {
    tiny.directory.write("settings.json", train_config_json(tiny.config));
    std::vector<std::string> all = {
        "train", "--run", path(name), "--settings", path("settings.json"), "--threads", "2"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  static bool has(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
  }

  TinyRun tiny;
};

TEST_F(TrainPlot, HelpNamesEverySettingWithItsDefault) {
  const CommandOutcome help = run_command({"train", "--help"});
  EXPECT_EQ(help.status, 0);
  TrainConfig defaults;
  visit_train_config(defaults, [&](std::string name, auto& field, const char* text) {
    std::replace(name.begin(), name.end(), '_', '-');
    EXPECT_TRUE(has(help.out, "--" + name)) << name;
    EXPECT_TRUE(has(help.out, text)) << name;
    if constexpr (std::is_same_v<decltype(field), std::int64_t&>) {
      EXPECT_TRUE(has(help.out, "--" + name + " INT=" + std::to_string(field))) << name;
    }
  });
  EXPECT_TRUE(has(help.out, "Examples:"));
}

TEST_F(TrainPlot, TrainsReportsAndPlots) {
  const CommandOutcome done =
      run_command(train("run", {"--steps", "4", "--learning-rate", "0.02"}));
  ASSERT_EQ(done.status, 0) << done.error;
  EXPECT_TRUE(has(done.out, "4 steps done, held-out loss ")) << done.out;
  EXPECT_TRUE(has(done.out, " bits per byte\nmodel: ")) << done.out;
  EXPECT_TRUE(has(done.error, "step 2: held-out loss ")) << done.error;
  EXPECT_TRUE(has(done.error, "train 4 of 4 steps (100%), loss ")) << done.error;
  EXPECT_FALSE(has(done.error, "\x1b")) << "control characters where there is no terminal";
  const TrainConfig stored = test::take(read_train_config(path("run/run.json")));
  EXPECT_EQ(stored.steps, 4);  // the flags win over the file, the file over the defaults
  EXPECT_EQ(stored.learning_rate, 0.02);
  EXPECT_EQ(stored.batch_tokens, 96);

  const CommandOutcome plot = run_command({"plot", path("run")});
  EXPECT_EQ(plot.status, 0) << plot.error;
  EXPECT_EQ(plot.out, path("run/loss.svg") + "\n");
  EXPECT_TRUE(test::file_bytes(path("run/loss.svg")).ends_with("</svg>\n"));
  const CommandOutcome both =
      run_command({"plot", path("run"), path("run"), "--output", path("x.svg")});
  EXPECT_EQ(both.status, 0) << both.error;
  EXPECT_TRUE(has(test::file_bytes(path("x.svg")), path("run") + ": training"));
  const CommandOutcome held_out = run_command(
      {"plot", path("run"), "--over", "tokens", "--held-out-only", "--output", path("x.svg")});
  EXPECT_EQ(held_out.status, 0) << held_out.error;
  EXPECT_TRUE(has(test::file_bytes(path("x.svg")), ">tokens<"));
}

TEST_F(TrainPlot, StopsAtCtrlCAndResumes) {
  tiny.config.steps = 1000000;
  tiny.config.eval_every = tiny.config.checkpoint_every = 0;
  {
    const Command command(train("run"));
    const auto written = [&] {
      std::error_code missing;
      const auto size = fs::file_size(path("run/metrics.jsonl"), missing);
      return !missing && size > 500;
    };
    for (int i = 0; i < 3000 && !written(); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    command.send(SIGINT);
    const CommandOutcome stopped = command.wait();
    EXPECT_EQ(stopped.status, 130) << stopped.error;
    EXPECT_TRUE(has(stopped.error, "tnl train --resume " + path("run"))) << stopped.error;
  }
  const auto steps = static_cast<std::int64_t>(tiny.metrics("run").size());
  EXPECT_GT(steps, 1);
  EXPECT_TRUE(fs::exists(path("run/model/model.safetensors")));

  TrainConfig config = test::take(read_train_config(path("run/run.json")));
  config.steps = steps + 2;
  tiny.directory.write("run/run.json", train_config_json(config));
  const CommandOutcome resumed = run_command({"train", "--resume", path("run"), "--threads", "2"});
  EXPECT_EQ(resumed.status, 0) << resumed.error;
  EXPECT_TRUE(has(resumed.error, "resumed at step " + std::to_string(steps))) << resumed.error;
  EXPECT_TRUE(has(resumed.error, "run.json was changed")) << resumed.error;
  EXPECT_EQ(static_cast<std::int64_t>(tiny.metrics("run").size()), steps + 2);
}

// A step that is not finite is printed and written down, and ten in a row end the run with the last
// checkpoint intact.
TEST_F(TrainPlot, SaysWhereTheLossIsNotFinite) {
  ASSERT_EQ(run_command(train("good")).status, 0);
  const auto huge = [&] {
    Model model = test::take(Model::load(path("good/model"), tiny.device));
    const TensorView& embedding = model.parameters().front().view;
    std::fill_n(static_cast<float*>(embedding.data), embedding.elements(), 3e38f);
    EXPECT_OK(model.save(path("huge")));
  };
  huge();
  tiny.config.config = "";
  const CommandOutcome outcome = run_command(
      train("run", {"--init", path("huge"), "--steps", "30", "--checkpoint-every", "4"}));
  EXPECT_EQ(outcome.status, 2) << outcome.error;
  EXPECT_TRUE(has(outcome.error, "step 1: loss ")) << outcome.error;
  EXPECT_TRUE(has(outcome.error, "is not finite, no update")) << outcome.error;
  EXPECT_TRUE(has(outcome.error, "tnl: step 10: found a loss (")) << outcome.error;
  EXPECT_TRUE(has(outcome.error, "for the 10th time in a row")) << outcome.error;
  const auto metrics = tiny.metrics("run");
  ASSERT_EQ(metrics.size(), 10u);
  for (const MetricsLine& line : metrics) EXPECT_TRUE(line.skipped);
  // No skipped step moved a parameter.
  EXPECT_EQ(test::file_bytes(path("run/checkpoints/step-00000008/model.safetensors")),
            test::file_bytes(path("huge/model.safetensors")));
}

TEST_F(TrainPlot, AnswersBadInputWithOneSentence) {
  const auto expect_refused = [](const std::vector<std::string>& arguments, const char* part) {
    const CommandOutcome outcome = run_command(arguments);
    EXPECT_EQ(outcome.status, 2) << outcome.error;
    EXPECT_TRUE(has(outcome.error, part)) << outcome.error;
    EXPECT_EQ(outcome.out, "");
  };
  expect_refused({"train"}, "neither --run nor --resume");
  expect_refused({"train", "--run", path("new")}, "data: not given");
  expect_refused({"train", "--resume", path("new")}, "run.json");
  expect_refused({"train", "--resume", path("new"), "--steps", "3"}, "found --steps with --resume");
  expect_refused(train("new", {"--steps", "many"}), "--steps");
  expect_refused(train("new", {"--steps", "0"}), "steps: found 0");
  expect_refused(train("new", {"--learning-rate", "nan"}), "learning_rate: found nan");
  expect_refused(train("new", {"--preset", "6m", "--init", "x"}), "--init");
  expect_refused(train("new", {"--init", path("nothing")}), "nothing");
  tiny.directory.write("bad.json", R"({"step": 3})");
  expect_refused({"train", "--run", path("new"), "--settings", path("bad.json")},
                 "the nearest known one is 'steps'");
  expect_refused({"plot", path("new")}, "metrics.jsonl");
  expect_refused({"plot"}, "runs");
  EXPECT_FALSE(fs::exists(path("new")));
}

}  // namespace
}  // namespace tnl
