#include "infer/evaluate.h"

#include <cmath>
#include <limits>
#include <sstream>

#include <gtest/gtest.h>

#include "infer/table_tokenizer.h"
#include "infer/text_blocks.h"
#include "infer/tiny_model.h"
#include "tnl/session.h"

namespace tnl {
namespace {

using testing::TableTokenizer;
using testing::tiny_config;
using testing::tiny_model;
using testing::uniform_model;

// Words, between which the tokenizer of these tests allows a cut.
std::string sample_text(std::size_t bytes) {
  Rng rng(1);
  std::string text;
  while (text.size() < bytes) {
    text += rng.below(9) == 0 ? ' ' : static_cast<char>('a' + rng.below(20));
  }
  return text;
}

Result<Evaluation> evaluate_text(
    const Model& model, const Tokenizer& tokenizer, const std::string& text,
    std::int64_t chunk = 512,
    const std::function<bool(const Evaluation&)>& progress = [](const auto&) { return true; }) {
  std::istringstream stream(text);
  return evaluate(model, tokenizer, stream, {.chunk = chunk}, progress);
}

TEST(Evaluate, EqualsScoringTheWholeTextAtOnce) {
  const std::string text = sample_text(TextBlocks::kUsual + 3000);
  const Model model = tiny_model(tiny_config(258));
  for (const bool specials : {true, false}) {
    const auto tokenizer = TableTokenizer::bytes(specials);
    std::vector<std::int32_t> ids;
    if (specials) ids.push_back(tokenizer.bos);
    ASSERT_TRUE(tokenizer.encode(text, ids).ok());
    auto session = Session::create(model, 4096);
    std::vector<double> scores;
    ASSERT_TRUE(session->score(ids, scores).ok());
    double nats = specials ? 0 : std::log(258.0);
    for (const double score : scores) nats -= score;

    const auto result = evaluate_text(model, tokenizer, text, specials ? 512 : 77);
    ASSERT_TRUE(result.ok()) << result.status().message();
    EXPECT_EQ(result->bytes, static_cast<std::int64_t>(text.size()));
    EXPECT_EQ(result->tokens, static_cast<std::int64_t>(text.size()));
    EXPECT_NEAR(result->nats, nats, 1e-6 * nats);
    EXPECT_DOUBLE_EQ(result->nats_per_token(), result->nats / static_cast<double>(text.size()));
    EXPECT_DOUBLE_EQ(result->perplexity(), std::exp(result->nats_per_token()));
    EXPECT_NEAR(result->bits_per_byte(), std::log2(result->perplexity()),
                1e-9);  // here a token is a byte
    EXPECT_TRUE(result->lossless);
  }
}

// Every token costs ln(vocabulary), the first one too, with bos and without.
TEST(Evaluate, AUniformModelCodesEveryToken) {
  for (const bool specials : {true, false}) {
    const auto tokenizer = TableTokenizer::bytes(specials);
    for (const std::string& text : {std::string("x"), std::string("two"), sample_text(2000)}) {
      const auto result = evaluate_text(uniform_model(258), tokenizer, text, 100);
      ASSERT_TRUE(result.ok()) << result.status().message();
      EXPECT_EQ(result->tokens, static_cast<std::int64_t>(text.size()));
      EXPECT_NEAR(result->perplexity(), 258, 1e-3);
      EXPECT_NEAR(result->bits_per_byte(), std::log2(258.0), 1e-5);
    }
  }
}

TEST(Evaluate, CountsTokensOfSeveralBytes) {
  TableTokenizer tokenizer;
  tokenizer.pieces = {"ab", "c"};
  const auto result = evaluate_text(uniform_model(2), tokenizer, "abcab");
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->tokens, 3);
  EXPECT_EQ(result->bytes, 5);
  EXPECT_NEAR(result->bits_per_byte(), 3.0 / 5, 1e-6);
}

TEST(Evaluate, SaysWhereTheTokenizerLosesText) {
  TableTokenizer tokenizer;
  tokenizer.pieces = {"a", "b"};
  EXPECT_TRUE(evaluate_text(uniform_model(2), tokenizer, "abba")->lossless);
  EXPECT_FALSE(evaluate_text(uniform_model(2), tokenizer, "ab ba")->lossless);
}

TEST(Evaluate, ReportsAndStops) {
  const auto tokenizer = TableTokenizer::bytes(true);
  const std::string text = sample_text(3100);
  std::vector<Evaluation> seen;
  ASSERT_TRUE(evaluate_text(uniform_model(258), tokenizer, text, 500, [&](const auto& now) {
                seen.push_back(now);
                return true;
              }).ok());
  ASSERT_EQ(seen.size(), 7u);
  for (std::size_t i = 0; i < seen.size(); ++i) {
    EXPECT_EQ(seen[i].bytes, std::min<std::int64_t>(500 * (static_cast<std::int64_t>(i) + 1),
                                                    static_cast<std::int64_t>(text.size())));
    EXPECT_EQ(seen[i].tokens, seen[i].bytes);
    EXPECT_NEAR(seen[i].bits_per_byte(), std::log2(258.0), 1e-5);
  }
  const auto stopped = evaluate_text(uniform_model(258), tokenizer, text, 500,
                                     [](const auto& now) { return now.tokens < 1000; });
  ASSERT_FALSE(stopped.ok());
  EXPECT_EQ(stopped.status().code(), StatusCode::kInterrupted);
  EXPECT_NE(stopped.status().message().find("1000 tokens"), std::string::npos);
}

TEST(Evaluate, RefusesWhatCannotBeEvaluated) {
  const auto tokenizer = TableTokenizer::bytes(true);
  const auto refusal = [&](const Model& model, const std::string& text, std::int64_t chunk) {
    const auto result = evaluate_text(model, tokenizer, text, chunk);
    EXPECT_FALSE(result.ok());
    EXPECT_EQ(result.status().code(), StatusCode::kInvalidArgument);
    return result.status().message();
  };
  EXPECT_NE(refusal(uniform_model(258), "", 512).find("empty"), std::string::npos);
  EXPECT_NE(refusal(uniform_model(257), "x", 512).find("258 ids"), std::string::npos);
  EXPECT_NE(refusal(uniform_model(258), "x", 0).find("chunk is 0"), std::string::npos);
  Model broken = uniform_model(258);
  static_cast<float*>(broken.parameters()[0].view.data)[256 * 32] =
      std::numeric_limits<float>::quiet_NaN();  // the embedding of bos
  EXPECT_NE(refusal(broken, "xyz", 512).find("not finite"), std::string::npos);
}

}  // namespace
}  // namespace tnl
