// Texts of a batch are those that generate() gives for each prompt alone, bit for bit.
#include "tnl/batch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "table_tokenizer.h"
#include "tiny_model.h"

namespace tnl::testing {
namespace {

ModelConfig text_config(Generation generation) {
  ModelConfig config = tiny_config(258, generation);
  config.width = config.hidden = 64;
  config.glu = 96;
  return config;
}

BatchText alone(const Model& model, const Tokenizer& tokenizer, const BatchPrompt& prompt,
                const BatchOptions& options) {
  GenerateOptions generation = options.generate;
  generation.sampler.seed = prompt.seed;
  auto session = Session::create(model, options.prefill_chunk);
  EXPECT_TRUE(session.ok());
  EXPECT_TRUE(session->feed(prompt.tokens).ok());
  BatchText text;
  const auto result = generate(*session, tokenizer, generation, [&](std::string_view more) {
    text.text += more;
    return true;
  });
  EXPECT_TRUE(result.ok()) << result.status().message();
  text.reason = result->reason;
  const auto recent = session->recent();
  text.tokens.assign(recent.end() - result->tokens, recent.end());
  return text;
}

std::vector<BatchText> together(const Model& model, const Tokenizer& tokenizer,
                                const std::vector<BatchPrompt>& prompts,
                                const BatchOptions& options) {
  std::vector<BatchText> texts(prompts.size());
  std::vector<int> seen(prompts.size());
  const Status status = generate_batch(model, tokenizer, prompts, options, [&](BatchText text) {
    ++seen[text.prompt];
    texts[text.prompt] = std::move(text);
    return true;
  });
  EXPECT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(seen, std::vector<int>(prompts.size(), 1));
  return texts;
}

// Of all lengths that matter: one token, less and more than what shares a pass, several chunks.
std::vector<BatchPrompt> prompts_of(const std::vector<std::size_t>& lengths) {
  std::vector<BatchPrompt> prompts;
  for (const std::size_t length : lengths) {
    prompts.push_back({random_tokens(length, 256, length + 1), 100 + length});
  }
  return prompts;
}

const std::vector<std::size_t> kLengths = {1,  5, 1,  70, 2,  16, 17, 33, 3, 3, 40,
                                           65, 1, 24, 8,  31, 32, 64, 41, 7, 9, 81};

void expect_as_alone(const Model& model, const BatchOptions& options,
                     const std::vector<std::size_t>& lengths) {
  const TableTokenizer tokenizer = TableTokenizer::bytes(true);
  const std::vector<BatchPrompt> prompts = prompts_of(lengths);
  const std::vector<BatchText> texts = together(model, tokenizer, prompts, options);
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    const BatchText expected = alone(model, tokenizer, prompts[i], options);
    EXPECT_EQ(texts[i].tokens, expected.tokens) << "prompt " << i;
    EXPECT_EQ(texts[i].text, expected.text) << "prompt " << i;
    EXPECT_EQ(texts[i].reason, expected.reason) << "prompt " << i;
  }
}

class Batch : public ::testing::TestWithParam<Generation> {};

TEST_P(Batch, GreedyTextsAreThoseOfEachPromptAlone) {
  const Model model = tiny_model(text_config(GetParam()));
  for (const std::int64_t batch : {1, 3, 16, 0}) {
    BatchOptions options{.batch = batch, .prefill_chunk = 40};
    options.generate.max_tokens = 20;
    options.generate.sampler.temperature = 0;
    expect_as_alone(model, options, kLengths);
  }
}

TEST_P(Batch, SeededTextsAreThoseOfEachPromptAlone) {
  const Model model = tiny_model(text_config(GetParam()));
  BatchOptions options{.batch = 7, .prefill_chunk = 40};
  options.generate.max_tokens = 40;
  options.generate.sampler = {.temperature = 1.2,
                              .top_k = 50,
                              .top_p = 0.97,
                              .min_p = 0.01,
                              .repetition_penalty = 1.1,
                              .penalty_window = 30};
  // These end some texts early, so that places change hands at different times.
  options.generate.stop = {"e", "\x41\x42", "z"};
  expect_as_alone(model, options, kLengths);
}

TEST_P(Batch, StoredWeightsOfOtherTypes) {
  const auto device = Device::open("cpu", {.threads = 2, .cpu_target = {}});
  ASSERT_TRUE(device.ok());
  for (const DType dtype : {DType::kBF16, DType::kF16}) {
    const auto model = Model::create(text_config(GetParam()), *device, 3, dtype);
    ASSERT_TRUE(model.ok());
    BatchOptions options{.prefill_chunk = 40};
    options.generate.max_tokens = 12;
    expect_as_alone(*model, options, {3, 50, 1, 18, 2});
  }
}

INSTANTIATE_TEST_SUITE_P(Generations, Batch, ::testing::Values(Generation::kTnl, Generation::kTnl3),
                         [](const auto& info) {
                           return info.param == Generation::kTnl ? "tnl" : "tnl3";
                         });

TEST(GpuBatch, TextsAreThoseOfEachPromptAlone) {
  for (const DType compute : {DType::kBF16, DType::kF32}) {
    const auto device =
        Device::open("cuda", {.threads = 2, .cpu_target = {}, .gpu_compute = compute});
    if (!device.ok()) GTEST_SKIP() << device.status().message();
    for (const Generation generation : {Generation::kTnl, Generation::kTnl3}) {
      ModelConfig config = text_config(generation);
      config.width = config.hidden = 256;
      config.glu = 384;
      config.gate = 32;
      config.heads = 2;
      const auto model = Model::create(config, *device, 7);
      ASSERT_TRUE(model.ok()) << model.status().message();
      for (const std::int64_t batch : {1, 5, 0}) {
        BatchOptions options{.batch = batch, .prefill_chunk = 40};
        options.generate.max_tokens = 30;
        options.generate.sampler.temperature = batch == 5 ? 1.0 : 0.0;
        options.generate.stop = {"e"};
        expect_as_alone(*model, options, kLengths);
      }
    }
  }
}

TEST(BatchEnds, WhereDoneOrTheCallerSaysSo) {
  const Model model = tiny_model(text_config(Generation::kTnl));
  const TableTokenizer tokenizer = TableTokenizer::bytes(true);
  const std::vector<BatchPrompt> prompts = prompts_of({2, 3, 4, 5, 6});
  BatchOptions options{.batch = 2};
  options.generate.max_tokens = 4;
  options.generate.stop_at_eos = false;
  int texts = 0;
  const Status first =
      generate_batch(model, tokenizer, prompts, options, [&](BatchText) { return ++texts < 2; });
  EXPECT_TRUE(first.ok());
  EXPECT_EQ(texts, 2);

  int asked = 0;
  const Status second = generate_batch(
      model, tokenizer, prompts, options, [](BatchText) { return true; },
      [&] { return ++asked < 5; });
  EXPECT_EQ(second.code(), StatusCode::kInterrupted);
}

TEST(BatchEnds, WithoutTokensWhereNoneAreWanted) {
  const Model model = tiny_model(text_config(Generation::kTnl));
  BatchOptions options;
  options.generate.max_tokens = 0;
  for (const BatchText& text :
       together(model, TableTokenizer::bytes(true), prompts_of({1, 9, 2}), options)) {
    EXPECT_TRUE(text.tokens.empty());
    EXPECT_EQ(text.text, "");
    EXPECT_EQ(text.reason, StopReason::kMaxTokens);
  }
}

TEST(BatchErrors, NameWhatIsWrong) {
  const Model model = tiny_model(text_config(Generation::kTnl));
  const TableTokenizer tokenizer = TableTokenizer::bytes(true);
  const auto message = [&](const std::vector<BatchPrompt>& prompts, const BatchOptions& options) {
    return generate_batch(model, tokenizer, prompts, options,
                          [](BatchText) {
                            ADD_FAILURE() << "a text was generated";
                            return true;
                          })
        .message();
  };
  EXPECT_EQ(message({{{1}, 0}, {{}, 0}}, {}), "prompt 1 is empty, expected at least one token");
  EXPECT_EQ(message({{{1, 258}, 0}}, {}), "prompt 0 holds token 258, expected an id from 0 to 257");
  EXPECT_EQ(message({{{1}, 0}}, {.batch = 17}),
            "batch is 17, expected 1 to 16 texts at a time on this device, or 0 for the most");
  EXPECT_EQ(message({{{1}, 0}}, {.batch = -1}),
            "batch is -1, expected 1 to 16 texts at a time on this device, or 0 for the most");
  EXPECT_EQ(message({{{1}, 0}}, {.prefill_chunk = -2}),
            "prefill_chunk is -2, expected a number of tokens, or 0 for the default");
}

}  // namespace
}  // namespace tnl::testing
