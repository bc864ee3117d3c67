#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "support/require.h"
#include "support/temporary_directory.h"
#include "train/config.h"

namespace tnl {
namespace {

using test::take;

std::string error_of(const std::string& json) {
  const test::TemporaryDirectory directory;
  const auto result = read_train_config(directory.write("settings.json", json));
  EXPECT_FALSE(result.ok()) << json;
  return result.ok() ? "" : result.status().message();
}

TEST(TrainConfigJson, KeepsEveryFieldThroughARoundTrip) {
  TrainConfig config;
  int index = 0;
  visit_train_config(config, [&](const char*, auto& field, const char*) {
    ++index;
    if constexpr (std::is_same_v<decltype(field), std::string&>) {
      field = "text \"" + std::to_string(index) + "\" \\ ü";
    } else if constexpr (std::is_same_v<decltype(field), bool&>) {
      field = true;
    } else if constexpr (std::is_same_v<decltype(field), double&>) {
      field = 0.1 + index / 3.0;  // not representable in few digits
    } else {
      field = index + (std::int64_t{1} << 60);
    }
  });
  config.seed = std::numeric_limits<std::uint64_t>::max();
  const test::TemporaryDirectory directory;
  const TrainConfig read =
      take(read_train_config(directory.write("run.json", train_config_json(config))));
  EXPECT_EQ(index, 28);
  EXPECT_EQ(train_config_json(read), train_config_json(config));
  EXPECT_EQ(read.seed, config.seed);
  EXPECT_EQ(read.learning_rate, config.learning_rate);
  EXPECT_EQ(read.data, config.data);
}

TEST(TrainConfigJson, LeavesDefaultsWhereAKeyIsMissing) {
  const test::TemporaryDirectory directory;
  const TrainConfig read =
      take(read_train_config(directory.write("s.json", R"({"steps": 7, "clip": 2})")));
  EXPECT_EQ(read.steps, 7);
  EXPECT_EQ(read.clip, 2.0);
  EXPECT_EQ(read.preset, "6m");
  EXPECT_EQ(read.batch_tokens, TrainConfig().batch_tokens);
}

TEST(TrainConfigJson, DropsTheDefaultPresetForAConfigOrInit) {
  const test::TemporaryDirectory directory;
  EXPECT_EQ(take(read_train_config(directory.write("s.json", R"({"init": "m"})"))).preset, "");
  EXPECT_EQ(take(read_train_config(directory.write("s.json", R"({"config": "c"})"))).preset, "");
}

TEST(TrainConfigJson, NamesTheNearestKey) {
  EXPECT_NE(error_of(R"({"learning_rat": 1})").find("'learning_rate'"), std::string::npos);
  EXPECT_NE(error_of(R"({"batchtokens": 1})").find("'batch_tokens'"), std::string::npos);
  EXPECT_NE(error_of(R"({"step": 1})").find("'steps'"), std::string::npos);
}

TEST(TrainConfigJson, SaysWhatItFoundAndExpected) {
  EXPECT_NE(error_of(R"({"steps": "many"})").find("steps: found \"many\", expected an integer"),
            std::string::npos);
  EXPECT_NE(error_of(R"({"steps": 1.5})").find("steps: found 1.5, expected an integer"),
            std::string::npos);
  EXPECT_NE(error_of(R"({"steps": 18446744073709551615})").find("expected an integer below"),
            std::string::npos);
  EXPECT_NE(error_of(R"({"seed": -1})").find("seed: found -1"), std::string::npos);
  EXPECT_NE(error_of(R"({"clip": true})").find("clip: found true, expected a number"),
            std::string::npos);
  EXPECT_NE(error_of(R"({"paper_slopes": 1})").find("expected true or false"), std::string::npos);
  EXPECT_NE(error_of(R"({"data": null})").find("data: found null, expected a string"),
            std::string::npos);
  EXPECT_NE(error_of("[1, 2]").find("expected a JSON object"), std::string::npos);
  EXPECT_NE(error_of("{\"steps\": 1").find("no valid JSON"), std::string::npos);
  EXPECT_NE(error_of("").find("no valid JSON"), std::string::npos);
}

TEST(TrainConfigJson, RefusesAMissingFile) {
  const auto result = read_train_config("/nowhere/settings.json");
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.status().code(), StatusCode::kNotFound);
}

TEST(TrainConfigValidate, AcceptsTheDefaultsWithData) {
  TrainConfig config;
  EXPECT_FALSE(validate(config).ok());
  config.data = "packed";
  EXPECT_OK(validate(config));
}

TEST(TrainConfigValidate, NamesTheFieldThatIsWrong) {
  const double nan = std::nan("");
  const auto expect_names = [](const char* name, auto change) {
    TrainConfig config;
    config.data = "packed";
    change(config);
    const Status status = validate(config);
    ASSERT_FALSE(status.ok()) << name;
    EXPECT_EQ(status.message().substr(0, std::string(name).size()), name) << status.message();
  };
  expect_names("steps:", [](TrainConfig& c) { c.steps = 0; });
  expect_names("batch_tokens:", [](TrainConfig& c) { c.batch_tokens = -4; });
  expect_names("sequence_length:", [](TrainConfig& c) { c.sequence_length = 0; });
  expect_names("sequence_length:", [](TrainConfig& c) { c.sequence_length = 4097; });
  expect_names("sequence_chunk:", [](TrainConfig& c) { c.sequence_chunk = -1; });
  expect_names("state_memory:", [](TrainConfig& c) { c.state_memory = -1; });
  expect_names("accumulate:", [](TrainConfig& c) { c.accumulate = 0; });
  expect_names("learning_rate:", [](TrainConfig& c) { c.learning_rate = -1; });
  expect_names("learning_rate:", [&](TrainConfig& c) { c.learning_rate = nan; });
  expect_names("min_learning_rate:", [](TrainConfig& c) { c.min_learning_rate = 1; });
  expect_names("warmup_steps:", [](TrainConfig& c) { c.warmup_steps = -1; });
  expect_names("schedule:", [](TrainConfig& c) { c.schedule = "linear"; });
  expect_names("wsd_decay:", [](TrainConfig& c) { c.wsd_decay = 1.5; });
  expect_names("beta1:", [](TrainConfig& c) { c.beta1 = 1; });
  expect_names("beta2:", [&](TrainConfig& c) { c.beta2 = nan; });
  expect_names("epsilon:", [](TrainConfig& c) { c.epsilon = 0; });
  expect_names("weight_decay:", [](TrainConfig& c) { c.weight_decay = -0.1; });
  expect_names("clip:", [](TrainConfig& c) { c.clip = std::numeric_limits<double>::infinity(); });
  expect_names("eval_every:", [](TrainConfig& c) { c.eval_every = -1; });
  expect_names("keep_checkpoints:", [](TrainConfig& c) { c.keep_checkpoints = 0; });
  expect_names("config and init:", [](TrainConfig& c) { c.config = "a", c.init = "b"; });
  expect_names("preset:", [](TrainConfig& c) { c.preset = "44m", c.init = "b"; });
  expect_names("preset:", [](TrainConfig& c) { c.preset = ""; });
  expect_names("paper_slopes:", [](TrainConfig& c) { c.paper_slopes = true, c.init = "b"; });
}

TEST(NearestName, CountsEdits) {
  EXPECT_EQ(nearest_name("clap", {"beta1", "clip", "steps"}), "clip");
  EXPECT_EQ(nearest_name("", {"abc", "x"}), "x");
  EXPECT_EQ(nearest_name("same", {"same"}), "same");
}

}  // namespace
}  // namespace tnl
