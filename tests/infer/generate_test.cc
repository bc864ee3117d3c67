#include <set>

#include <gtest/gtest.h>

#include "infer/table_tokenizer.h"
#include "infer/tiny_model.h"
#include "infer/utf8_stream.h"
#include "tnl/session.h"

namespace tnl {
namespace {

using testing::TableTokenizer;
using testing::tiny_config;
using testing::tiny_model;
using testing::uniform_model;

struct Output {
  GenerateResult result;
  std::string text;
  std::vector<std::string> pieces;
  std::vector<std::int32_t> ids;  // all the session has read
};

Output run(const Model& model, const Tokenizer& tokenizer, const GenerateOptions& options,
           std::vector<std::int32_t> prompt, int cancel_after = -1) {
  Output output;
  auto session = Session::create(model);
  EXPECT_TRUE(session.ok()) << session.status().message();
  EXPECT_TRUE(session->feed(prompt).ok());
  const auto result = generate(*session, tokenizer, options, [&](std::string_view text) {
    output.text += text;
    output.pieces.emplace_back(text);
    return static_cast<int>(output.pieces.size()) != cancel_after;
  });
  EXPECT_TRUE(result.ok()) << result.status().message();
  output.result = *result;
  output.ids.assign(session->recent().begin(), session->recent().end());
  EXPECT_EQ(session->position(), static_cast<std::int64_t>(prompt.size()) + output.result.tokens);
  return output;
}

std::string clean(std::string_view bytes) {
  Utf8Stream stream;
  std::string text;
  stream.push(bytes, text);
  stream.flush(text);
  return text;
}

std::string decoded(const Tokenizer& tokenizer, const Output& output, std::size_t prompt) {
  return *tokenizer.decode(std::span(output.ids).subspan(prompt));
}

TEST(Generate, TheSeedDecidesTheText) {
  const auto tokenizer = TableTokenizer::bytes(true);
  const Model model = tiny_model(tiny_config(258));
  GenerateOptions options;
  options.max_tokens = 60;
  options.sampler = {.temperature = 0.9, .top_k = 100, .top_p = 0.95, .seed = 5};
  const Output first = run(model, tokenizer, options, {65, 66});
  EXPECT_EQ(run(model, tokenizer, options, {65, 66}).ids, first.ids);
  EXPECT_EQ(run(model, tokenizer, options, {65, 66}).text, first.text);
  options.sampler.seed = 6;
  EXPECT_NE(run(model, tokenizer, options, {65, 66}).ids, first.ids);
}

TEST(Generate, TemperatureZeroFollowsTheLargestLogit) {
  const auto tokenizer = TableTokenizer::bytes(false);
  const Model model = tiny_model(tiny_config(256));
  GenerateOptions options;
  options.max_tokens = 30;
  options.sampler.temperature = 0;
  const Output greedy = run(model, tokenizer, options, {65});
  auto session = Session::create(model);
  for (std::size_t i = 0; i + 1 < greedy.ids.size(); ++i) {
    ASSERT_TRUE(session->feed({&greedy.ids[i], 1}).ok());
    const auto logits = session->logits();
    EXPECT_EQ(greedy.ids[i + 1], std::max_element(logits.begin(), logits.end()) - logits.begin());
  }
  EXPECT_EQ(greedy.result.tokens, 30);
  EXPECT_EQ(greedy.result.reason, StopReason::kMaxTokens);
}

TEST(Generate, EmitsWholeCharactersThatAreTheTokensText) {
  // Bytes of characters of every length are likely to meet in the right order and in wrong ones.
  TableTokenizer tokenizer;
  tokenizer.pieces = {"a", "\xe2", "\x82", "\xac", "\xc3", "\xa9", "\xf0\x9f", "\x98\x80", "xyz"};
  GenerateOptions options;
  options.max_tokens = 400;
  for (const std::uint64_t seed : {1, 2, 3}) {
    options.sampler.seed = seed;
    const Output made = run(uniform_model(9), tokenizer, options, {0});
    EXPECT_EQ(made.text, clean(decoded(tokenizer, made, 1)));
    for (const std::string& piece : made.pieces) EXPECT_EQ(clean(piece), piece);
    EXPECT_NE(made.text.find("\u00e9"), std::string::npos);
    EXPECT_NE(made.text.find("\ufffd"), std::string::npos);
  }
}

TEST(Generate, StopsBeforeAStopString) {
  TableTokenizer tokenizer;
  tokenizer.pieces = {"ab", "c", "\xc3", "\xa9", "b", "a"};
  GenerateOptions options;
  options.max_tokens = 300;
  options.sampler.seed = 11;
  const Output free = run(uniform_model(6), tokenizer, options, {0});
  for (const std::size_t begin : {17, 60, 101}) {
    for (const std::size_t length : {3, 5, 8}) {
      std::size_t first = begin;
      while ((static_cast<unsigned char>(free.text[first]) & 0xc0) == 0x80) ++first;
      std::size_t last = first + length;
      while ((static_cast<unsigned char>(free.text[last]) & 0xc0) == 0x80) ++last;
      const std::string stop = free.text.substr(first, last - first);
      options.stop = {"never in the text", stop};
      const Output stopped = run(uniform_model(6), tokenizer, options, {0});
      EXPECT_EQ(stopped.result.reason, StopReason::kStopString);
      EXPECT_EQ(stopped.text, free.text.substr(0, free.text.find(stop)));
      for (const std::string& piece : stopped.pieces) EXPECT_EQ(clean(piece), piece);
      EXPECT_LT(stopped.result.tokens, free.result.tokens);
    }
  }
}

TEST(Generate, GivesBackWhatItHeldAtTheEnd) {
  TableTokenizer tokenizer;
  tokenizer.pieces = {"a", "b"};
  GenerateOptions options;
  options.max_tokens = 3;
  options.sampler.temperature = 0;  // "aaa"
  options.stop = {"aaaa"};
  EXPECT_EQ(run(uniform_model(2), tokenizer, options, {1}).text, "aaa");
  tokenizer.pieces[0] = "\xf0\x9f";
  EXPECT_EQ(run(uniform_model(2), tokenizer, options, {1}).text, "\ufffd\ufffd\ufffd");
  options.stop = {"\ufffd\ufffd\ufffd"};  // complete only with the last flush
  const Output stopped = run(uniform_model(2), tokenizer, options, {1});
  EXPECT_EQ(stopped.text, "");
  EXPECT_EQ(stopped.result.reason, StopReason::kStopString);
}

TEST(Generate, EndsAtEosUnlessTold) {
  const auto tokenizer = TableTokenizer::bytes(true);
  GenerateOptions options;
  options.max_tokens = 3000;
  options.sampler.seed = 3;
  const Output ended = run(uniform_model(258), tokenizer, options, {0});
  EXPECT_EQ(ended.result.reason, StopReason::kEndOfText);
  EXPECT_LT(ended.result.tokens, 3000);
  EXPECT_EQ(std::count(ended.ids.begin(), ended.ids.end(), 257), 0);
  options.stop_at_eos = false;
  const Output on = run(uniform_model(258), tokenizer, options, {0});
  EXPECT_EQ(on.result.tokens, 3000);
  EXPECT_EQ(on.ids[ended.ids.size()], 257);
  EXPECT_EQ(on.text, clean(decoded(tokenizer, on, 1)));
}

TEST(Generate, StopsWhenEmitSaysSo) {
  const auto tokenizer = TableTokenizer::bytes(false);
  GenerateOptions options;
  const Output cancelled = run(uniform_model(256), tokenizer, options, {0}, 4);
  EXPECT_EQ(cancelled.result.reason, StopReason::kCancelled);
  EXPECT_EQ(cancelled.result.tokens, 4);
  EXPECT_EQ(cancelled.pieces.size(), 4u);
}

TEST(Generate, NothingWhereNothingIsWanted) {
  const auto tokenizer = TableTokenizer::bytes(false);
  GenerateOptions options;
  options.max_tokens = 0;
  const Output none = run(uniform_model(256), tokenizer, options, {0});
  EXPECT_EQ(none.result.tokens, 0);
  EXPECT_TRUE(none.pieces.empty());
}

TEST(Generate, DropsTheSpaceBeforeTheFirstWordOnly) {
  TableTokenizer tokenizer;
  tokenizer.pieces = {" w", ""};
  tokenizer.bos = 1;
  GenerateOptions options;
  options.max_tokens = 2;
  options.sampler.temperature = 0;
  EXPECT_EQ(run(uniform_model(2), tokenizer, options, {1}).text, "w w");
  EXPECT_EQ(run(uniform_model(2), tokenizer, options, {0}).text, " w w");
}

TEST(Generate, ThePenaltyKnowsThePrompt) {
  TableTokenizer tokenizer;
  tokenizer.pieces = {"a", "b", "c", "d"};
  const Model model = tiny_model(tiny_config(4));
  GenerateOptions options;
  options.max_tokens = 1;
  options.sampler.temperature = 0;
  const std::vector<std::int32_t> prompt = {0, 1, 2, 3, 1};
  const std::int32_t plain = run(model, tokenizer, options, prompt).ids.back();
  auto session = Session::create(model);
  ASSERT_TRUE(session->feed(prompt).ok());
  ASSERT_GT(session->logits()[plain], 0);
  std::vector<float> expected(session->logits().begin(), session->logits().end());
  options.sampler.repetition_penalty = 100;
  options.sampler.penalty_window = 5;
  for (float& logit : expected) logit = logit > 0 ? logit / 100 : logit * 100;
  EXPECT_EQ(run(model, tokenizer, options, prompt).ids.back(),
            std::max_element(expected.begin(), expected.end()) - expected.begin());
  options.sampler.penalty_window = 1;  // only id 1 is penalised
  expected.assign(session->logits().begin(), session->logits().end());
  expected[1] = expected[1] > 0 ? expected[1] / 100 : expected[1] * 100;
  EXPECT_EQ(run(model, tokenizer, options, prompt).ids.back(),
            std::max_element(expected.begin(), expected.end()) - expected.begin());
}

TEST(Generate, NeverDrawsIdsTheTokenizerLacks) {
  TableTokenizer tokenizer;
  tokenizer.pieces = {"a", "b", "c"};
  GenerateOptions options;
  options.max_tokens = 500;
  const Output made = run(uniform_model(40), tokenizer, options, {0});
  EXPECT_EQ(std::set<std::int32_t>(made.ids.begin(), made.ids.end()),
            (std::set<std::int32_t>{0, 1, 2}));
}

TEST(Generate, RefusesWhatCannotWork) {
  const auto tokenizer = TableTokenizer::bytes(false);
  const auto refusal = [&](const Model& model, const GenerateOptions& options, bool fed) {
    auto session = Session::create(model);
    const std::int32_t token = 0;
    if (fed) {
      EXPECT_TRUE(session->feed({&token, 1}).ok());
    }
    const auto result =
        generate(*session, tokenizer, options, [](std::string_view) { return true; });
    EXPECT_FALSE(result.ok());
    return result.status().message();
  };
  const Model model = uniform_model(256);
  EXPECT_NE(refusal(model, {}, false).find("session is empty"), std::string::npos);
  EXPECT_NE(refusal(uniform_model(200), {}, true).find("256 ids"), std::string::npos);
  EXPECT_NE(refusal(model, {.sampler = {}, .max_tokens = -1, .stop = {}}, true).find("max_tokens"),
            std::string::npos);
  EXPECT_NE(refusal(model, {.sampler = {.top_p = 2}, .stop = {}}, true).find("top_p"),
            std::string::npos);
  EXPECT_NE(refusal(model, {.sampler = {}, .stop = {""}}, true).find("stop string 1"),
            std::string::npos);
}

}  // namespace
}  // namespace tnl
