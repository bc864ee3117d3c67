#include <gtest/gtest.h>

#include <cmath>

#include "model/model_cases.h"
#include "support/require.h"
#include "support/temporary_directory.h"
#include "tnl/model.h"

namespace tnl {
namespace {

using test::take;
using test::TemporaryDirectory;

std::vector<double> slopes(std::int64_t heads, std::int64_t layers, std::int64_t layer) {
  ModelConfig config;
  config.heads = heads;
  config.layers = layers;
  std::vector<double> result;
  for (const float decay : config.log_decay(layer)) result.push_back(-decay);
  return result;
}

void expect_slopes(const std::vector<double>& found, const std::vector<double>& expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(found[i], expected[i], 2e-6) << i;
}

TEST(Slopes, AreTheReleasedOnes) {
  // Layer 0 of many: the factor is 1 + 1e-5.
  expect_slopes(slopes(8, 1, 0), {.5, .25, .125, .0625, .03125, .015625, .0078125, .00390625});
  expect_slopes(slopes(12, 1, 0), {.5, .25, .125, .0625, .03125, .015625, .0078125, .00390625,
                                   .707107, .353553, .176777, .088388});
  expect_slopes(slopes(5, 1, 0), {.25, .0625, .015625, .00390625, .5});
  const std::vector<double> forty = slopes(40, 1, 0);
  EXPECT_NEAR(forty[0], .840896, 2e-6);
  EXPECT_NEAR(forty[31], .00390625, 2e-8);
  EXPECT_NEAR(forty[32], .917004, 2e-6);
  EXPECT_NEAR(forty[39], .272627, 2e-6);
}

TEST(Slopes, FallWithTheLayer) {
  EXPECT_NEAR(slopes(8, 3, 0)[0], .5 * (1 + 1e-5), 1e-7);
  EXPECT_NEAR(slopes(8, 3, 1)[0], .5 * (.5 + 1e-5), 1e-7);
  EXPECT_NEAR(slopes(8, 3, 2)[0], .5e-5, 1e-10);
  EXPECT_EQ(slopes(8, 1, 0)[0], .5);  // one layer has factor 1
}

TEST(Slopes, OfThePaperAreLinear) {
  ModelConfig config;
  config.heads = 4;
  config.layers = 2;
  config.slopes = SlopeSchedule::kPaperLinear;
  EXPECT_EQ(config.log_decay(0), (std::vector<float>{0, -2, -4, -6}));
  EXPECT_EQ(config.log_decay(1), (std::vector<float>{0, -1, -2, -3}));
}

TEST(Presets, HaveThePublishedSizes) {
  EXPECT_EQ(take(find_preset("385m")).config.parameter_count(), 398'984'192);
  EXPECT_EQ(take(find_preset("1b")).config.parameter_count(), 1'020'266'496);
  EXPECT_EQ(take(find_preset("7b")).config.parameter_count(), 6'836'719'616);
  EXPECT_NEAR(static_cast<double>(take(find_preset("15b")).config.parameter_count()), 14.83e9, 1e7);
  EXPECT_NEAR(static_cast<double>(take(find_preset("44m")).config.parameter_count()), 44e6, 1e6);
  for (const Preset& preset : presets()) EXPECT_OK(preset.config.validate());
  EXPECT_NE(find_preset("6M").status().message().find("6m, 44m"), std::string::npos);
}

TEST(ConfigFile, IsWrittenAsItIsRead) {
  for (const test::NamedConfig& entry : test::config_cases()) {
    const TemporaryDirectory directory;
    ASSERT_TRUE(write_model_config(entry.config, DType::kF32, directory.path()).ok());
    const ModelConfig read = take(read_model_config(directory.path()));
    EXPECT_EQ(read.generation, entry.config.generation) << entry.name;
    EXPECT_EQ(read.parameter_count(), entry.config.parameter_count()) << entry.name;
    EXPECT_EQ(read.lrpe, entry.config.lrpe) << entry.name;
    EXPECT_EQ(read.tie_embeddings, entry.config.tie_embeddings) << entry.name;
    EXPECT_EQ(read.scale_embedding, entry.config.scale_embedding) << entry.name;
    EXPECT_EQ(read.silu, entry.config.silu) << entry.name;
    EXPECT_EQ(read.slopes, entry.config.slopes) << entry.name;
    EXPECT_EQ(read.attention_scale, entry.config.attention_scale) << entry.name;
    EXPECT_EQ(read.pad_id, entry.config.pad_id) << entry.name;
  }
}

constexpr const char* kSmallest =
    R"("vocab_size": 9, "decoder_embed_dim": 8, "decoder_layers": 2, "decoder_attention_heads": 2)";

TEST(ConfigFile, DefaultsAreTheReleasedOnes) {
  const TemporaryDirectory directory;
  directory.write("config.json", std::string("{") + kSmallest + R"(, "glu_dim": -1})");
  const ModelConfig config = take(read_model_config(directory.path()));
  EXPECT_EQ(config.generation, Generation::kTnl);
  EXPECT_EQ(config.hidden, 8);
  EXPECT_EQ(config.glu, 8);
  EXPECT_TRUE(config.silu && config.scale_embedding && config.tie_embeddings);
  EXPECT_EQ(config.lrpe, (std::vector<std::uint8_t>{0, 0}));
  EXPECT_EQ(config.pad_id, 0);
}

TEST(ConfigFile, BadContentGetsASentenceThatNamesTheField) {
  const std::pair<const char*, const char*> cases[] = {
      {R"("hidden_dim": 7)", "hidden_dim: found 7, expected a multiple"},
      {R"("hidden_dim": "8")", "hidden_dim: found \"8\", expected an integer"},
      {R"("hidden_dim": 1e99)", "hidden_dim"},
      {R"("glu_dim": 0)", "glu_dim: found 0"},
      {R"("bias": true)", "bias: found true, expected false"},
      {R"("norm_type": "layernorm")", "norm_type: found \"layernorm\""},
      {R"("linear_act_fun": "gelu")", "linear_act_fun: found \"gelu\""},
      {R"("linear_use_lrpe_list": [1])", "linear_use_lrpe_list: found 1 entries"},
      {R"("linear_use_lrpe_list": [1, 2])", "linear_use_lrpe_list: found 2, expected a list of 0"},
      {R"("pad_token_id": 9)", "pad_token_id: found 9"},
      {R"("model_type": "llama")", "model_type: found \"llama\""},
      {R"("tnl_slopes": "steep")", "tnl_slopes: found \"steep\""},
      {R"("gate_dim": -3)", "gate_dim: found -3"},
      {R"("glu_dim": 18446744073709551615)", "expected an integer below 2^63"},
      {R"("pad_token_id": 18446744073709551615)", "expected an integer below 2^63"},
  };
  for (const auto& [field, expected] : cases) {
    const TemporaryDirectory directory;
    directory.write("config.json", std::string("{") + kSmallest + ", " + field + "}");
    const auto config = read_model_config(directory.path());
    ASSERT_FALSE(config.ok()) << field;
    EXPECT_EQ(config.status().code(), StatusCode::kInvalidArgument);
    EXPECT_NE(config.status().message().find(expected), std::string::npos)
        << config.status().message();
    EXPECT_NE(config.status().message().find("config.json"), std::string::npos);
  }
  for (const char* content : {"", "[]", "{", "null", "\xff\xfe", R"({"vocab_size": 9})"}) {
    const TemporaryDirectory directory;
    directory.write("config.json", content);
    EXPECT_FALSE(read_model_config(directory.path()).ok()) << content;
  }
  // Printing such a value once ran out of stack.
  const TemporaryDirectory directory;
  directory.write("config.json",
                  "{\"glu_dim\": " + std::string(400000, '[') + std::string(400000, ']') + "}");
  EXPECT_NE(read_model_config(directory.path()).status().message().find("found no JSON object"),
            std::string::npos);
  EXPECT_EQ(read_model_config("/nonexistent").status().code(), StatusCode::kNotFound);
}

// Every extent in its range; their products would leave 64 bits.
TEST(ModelConfig, RefusesModelsThatCannotBeCounted) {
  ModelConfig config;
  config.vocab_size = config.width = config.hidden = config.glu = std::int64_t{1} << 24;
  config.heads = 1;
  config.layers = 10000;
  config.lrpe.assign(10000, 0);
  EXPECT_NE(config.validate().message().find("parameters, expected at most 2^50"),
            std::string::npos)
      << config.validate().message();
}

}  // namespace
}  // namespace tnl
