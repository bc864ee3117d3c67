// The scorer: a model whose probabilities are known, hand-computed; and any model against scoring
// each answer for itself.
#include "infer/task_score.h"

#include <cmath>
#include <cstring>

#include <gtest/gtest.h>

#include "infer/answer_scorer.h"
#include "infer/table_tokenizer.h"
#include "infer/tiny_model.h"
#include "tnl/session.h"

namespace tnl {
namespace {

using testing::TableTokenizer;
using testing::tiny_config;
using testing::tiny_model;
using testing::uniform_model;
using Ids = std::vector<std::int32_t>;

// 'a' to 'z' as ids 0 to 25, then a space, then bos.
TableTokenizer letters() {
  TableTokenizer tokenizer;
  for (char c = 'a'; c <= 'z'; ++c) tokenizer.pieces.push_back(std::string(1, c));
  tokenizer.pieces.push_back(" ");
  tokenizer.pieces.push_back("");
  tokenizer.bos = 27;
  return tokenizer;
}

// A model of 32 tokens that expects the last token again. All weights are zero but the embeddings,
// which are `a` times the unit vectors: h = a sqrt(32) e_x, norm(h) = sqrt(32) e_x, and the logit
// of token x is a sqrt(32), all others 0.
constexpr double kGain = 0.5;
Model repeating_model() {
  Model model = uniform_model(32);
  const TensorView& embedding = model.parameters()[0].view;
  EXPECT_EQ(embedding.elements(), 32 * 32);
  auto* values = static_cast<float*>(embedding.data);
  for (int i = 0; i < 32; ++i) values[i * 33] = static_cast<float>(kGain);
  return model;
}
const double kSame = -std::log(1 + 31 * std::exp(-kGain * std::sqrt(32.0)));  // ln p(x | x)
const double kOther = kSame - kGain * std::sqrt(32.0);                        // ln p(y | x)

TaskItem item(const std::string& context, const std::vector<std::string>& choices,
              std::int64_t gold = 0, const std::string& delimiter = "") {
  TaskItem result;
  result.contexts = {context};
  result.choices = choices;
  result.gold = gold;
  result.delimiter = delimiter;
  return result;
}

struct Scored {
  std::vector<ItemScore> items;
  TaskResult result;
};

Scored score(const Model& model, const Tokenizer& tokenizer, const std::vector<TaskItem>& items,
             const TaskOptions& options = {}) {
  Scored scored;
  auto result =
      score_task(model, tokenizer, items, options, [&](const ItemScore& one, const TaskResult&) {
        scored.items.push_back(one);
        return true;
      });
  EXPECT_TRUE(result.ok()) << result.status().message();
  if (result.ok()) scored.result = std::move(result).value();
  return scored;
}

TEST(TaskScore, HandComputedChoices) {
  const Model model = repeating_model();
  const auto scored = score(model, letters(),
                            {item("ab", {"c", "b"}, 1), item("ab", {"bbb", "ccc", "bd"}, 2),
                             item("ab", {"zz", "yyyyy"}, 1), item("b", {"b"}, 0, " ")});
  const auto expect = [&](std::size_t i, const std::vector<double>& values) {
    ASSERT_EQ(scored.items[i].log_likelihoods.size(), values.size());
    for (std::size_t k = 0; k < values.size(); ++k) {
      EXPECT_NEAR(scored.items[i].log_likelihoods[k], values[k], 1e-4) << i << " " << k;
    }
  };
  expect(0, {kOther, kSame});
  expect(1, {3 * kSame, kOther + 2 * kSame, kSame + kOther});
  expect(2, {kOther + kSame, kOther + 4 * kSame});
  expect(3, {2 * kOther});
  EXPECT_EQ(scored.items[0].chosen, 1u);
  EXPECT_EQ(scored.items[1].chosen, 0u);
  // By characters: (kOther + kSame) / 2 = -2.6 against (kOther + 4 kSame) / 5 = -1.9.
  EXPECT_EQ(scored.items[2].chosen, 0u);
  EXPECT_EQ(scored.items[2].chosen_by_characters, 1u);
  EXPECT_EQ(scored.result.all.plain.right, 1);
  EXPECT_EQ(scored.result.all.by_characters.right, 2);
  EXPECT_EQ(scored.result.all.plain.of, 4);
  EXPECT_FALSE(scored.result.last_word);
}

TEST(TaskScore, HandComputedContexts) {
  TaskItem one = item("", {"bb"}, 1);
  one.contexts = {"ac", "ab", "ad"};
  const auto scored = score(repeating_model(), letters(), {one});
  ASSERT_EQ(scored.items[0].log_likelihoods.size(), 3u);
  EXPECT_NEAR(scored.items[0].log_likelihoods[0], kOther + kSame, 1e-4);
  EXPECT_NEAR(scored.items[0].log_likelihoods[1], 2 * kSame, 1e-4);
  EXPECT_EQ(scored.items[0].chosen, 1u);
  EXPECT_TRUE(scored.items[0].right);
}

TEST(TaskScore, HandComputedLastWords) {
  const auto scored = score(repeating_model(), letters(),
                            {item("ab", {"bb"}), item("ab", {"bc"}), item("ab", {"cc"})});
  EXPECT_TRUE(scored.result.last_word);
  EXPECT_TRUE(scored.items[0].right);
  EXPECT_FALSE(scored.items[1].right);
  EXPECT_FALSE(scored.items[2].right);
  const double a = 2 * kSame, b = kSame + kOther, c = kOther + kSame, mean = (a + b + c) / 3;
  EXPECT_NEAR(scored.result.all.perplexity(), std::exp(-mean), 1e-3);
  const double variance =
      ((a - mean) * (a - mean) + (b - mean) * (b - mean) + (c - mean) * (c - mean)) / 2;
  EXPECT_NEAR(scored.result.all.perplexity_error(), std::exp(-mean) * std::sqrt(variance / 3),
              1e-3);
  EXPECT_DOUBLE_EQ(scored.result.all.plain.mean(), 1.0 / 3);
  EXPECT_NEAR(scored.result.all.plain.standard_error(), std::sqrt(2.0 / 9 / 2), 1e-12);
}

TEST(TaskScore, AnEmptyContextBeginsWithBos) {
  const auto scored = score(repeating_model(), letters(), {item("", {"bb", "b c"}, 0, " ")});
  EXPECT_NEAR(scored.items[0].log_likelihoods[0], 2 * kOther + kSame, 1e-4);
  EXPECT_NEAR(scored.items[0].log_likelihoods[1], 4 * kOther, 1e-4);
}

// Every token costs ln V: the shortest answer wins, and with the delimiter's token counted but not
// its length, the longest by characters. Two bytes a character tell characters from bytes.
TEST(TaskScore, LengthsAreThoseOfTheChoiceWithoutItsDelimiter) {
  const Model model = uniform_model(258);
  const auto tokenizer = TableTokenizer::bytes(true);
  const auto scored =
      score(model, tokenizer, {item("x", {"abcd", "\u00e9\u00e9\u00e9", "ef"}, 0, " ")});
  const auto& values = scored.items[0].log_likelihoods;
  EXPECT_NEAR(values[0], -5 * std::log(258.0), 1e-4);
  EXPECT_NEAR(values[1], -7 * std::log(258.0), 1e-4);
  EXPECT_NEAR(values[2], -3 * std::log(258.0), 1e-4);
  EXPECT_EQ(scored.items[0].chosen, 2u);
  EXPECT_EQ(scored.items[0].chosen_by_characters, 0u);  // 5/4, 7/3, 3/2
  EXPECT_EQ(scored.result.all.by_bytes.right, 0);       // 5/4, 7/6, 3/2: the second
  EXPECT_EQ(scored.result.all.by_characters.right, 1);
}

TEST(TaskScore, SubjectsAreCountedForThemselves) {
  std::vector<TaskItem> items = {item("b", {"b", "c"}), item("b", {"b", "c"}, 1),
                                 item("b", {"b", "c"})};
  items[0].subject = items[1].subject = "first";
  items[2].subject = "second";
  const auto scored = score(repeating_model(), letters(), items);
  ASSERT_EQ(scored.result.subjects.size(), 2u);
  EXPECT_EQ(scored.result.subjects.at("first").plain.right, 1);
  EXPECT_EQ(scored.result.subjects.at("first").plain.of, 2);
  EXPECT_EQ(scored.result.subjects.at("second").plain.right, 1);
  EXPECT_EQ(scored.result.all.plain.of, 3);
}

// What each answer gives when it is scored alone, from the first token on.
double alone(const Model& model, const Tokenizer& tokenizer, const TaskItem& item, std::size_t i,
             bool bos) {
  EncodedAnswer answer = encode_answer(tokenizer, item.prefix + item.context(i),
                                       item.delimiter + item.choice(i), tokenizer.bos_id())
                             .value();
  if (bos && answer.context[0] != tokenizer.bos_id()) {
    answer.context.insert(answer.context.begin(), tokenizer.bos_id());
  }
  Session session = Session::create(model).value();
  EXPECT_TRUE(session.feed(answer.context).ok());
  std::vector<double> scores;
  EXPECT_TRUE(session.score(answer.continuation, scores).ok());
  double sum = 0;
  for (const double score : scores) sum += score;
  return sum;
}

std::vector<TaskItem> mixed_items() {
  Rng rng(11);
  const auto text = [&](std::size_t bytes) {
    std::string result;
    while (result.size() < bytes) result += static_cast<char>('a' + rng.below(20));
    return result;
  };
  const std::string shared = text(50);
  std::vector<TaskItem> items;
  for (int i = 0; i < 40; ++i) {
    TaskItem next = item(text(1 + rng.below(30)), {}, 0, i % 3 == 0 ? "" : " ");
    if (i >= 10 && i < 25) next.prefix = shared;
    const std::size_t choices = i % 7 == 0 ? 1 : 2 + rng.below(3);
    for (std::size_t k = 0; k < choices; ++k) next.choices.push_back(text(1 + rng.below(12)));
    if (i % 5 == 1) {
      next.choices.resize(1);
      next.contexts = {next.contexts[0] + "x", next.contexts[0] + "yy", text(90)};
    }
    if (i == 30) next.contexts = {text(200)};
    if (i == 31) next.choices[0] = text(100);
    if (i == 32) next.contexts = {""};
    items.push_back(next);
  }
  return items;
}

TEST(TaskScore, EqualsEachAnswerAloneWhateverFitsIntoAPass) {
  const Model model = tiny_model(tiny_config(258));
  const auto tokenizer = TableTokenizer::bytes(true);
  const std::vector<TaskItem> items = mixed_items();
  for (const bool bos : {false, true}) {
    std::vector<std::vector<double>> expected;
    for (const TaskItem& one : items) {
      expected.emplace_back();
      for (std::size_t i = 0; i < one.answers(); ++i) {
        expected.back().push_back(alone(model, tokenizer, one, i, bos));
      }
    }
    for (const std::int64_t chunk : {1, 7, 64, 512}) {
      for (const std::size_t state_bytes : {std::size_t{1}, std::size_t{1} << 28}) {
        TaskOptions options;
        options.chunk = chunk;
        options.bos = bos;
        options.state_bytes = state_bytes;
        const auto scored = score(model, tokenizer, items, options);
        ASSERT_EQ(scored.items.size(), items.size());
        for (std::size_t n = 0; n < items.size(); ++n) {
          EXPECT_EQ(scored.items[n].item, n);
          for (std::size_t i = 0; i < expected[n].size(); ++i) {
            EXPECT_NEAR(scored.items[n].log_likelihoods[i], expected[n][i], 1e-3)
                << "item " << n << " answer " << i << " chunk " << chunk;
          }
        }
      }
    }
  }
}

TEST(EncodeAnswer, SpaceAtTheEndOfTheContextGoesToTheContinuation) {
  TableTokenizer tokenizer;
  tokenizer.pieces = {"a", " b", "b", " "};
  const auto answer = encode_answer(tokenizer, "a ", "b", -1);
  ASSERT_TRUE(answer.ok());
  EXPECT_EQ(answer->context, Ids{0});
  EXPECT_EQ(answer->continuation, Ids{1});
}

TEST(EncodeAnswer, TheContinuationIsWhatTheWholeHasBehindTheContext) {
  TableTokenizer tokenizer;
  tokenizer.pieces = {"abc", "ab", "a", "b", "c", "d"};
  const auto answer = encode_answer(tokenizer, "ab", "cd", -1);  // "abcd" is abc, d
  ASSERT_TRUE(answer.ok());
  EXPECT_EQ(answer->context, Ids{1});
  EXPECT_EQ(answer->continuation, Ids{5});
  const auto none = encode_answer(tokenizer, "ab", "c", -1);  // "abc" is one token
  ASSERT_FALSE(none.ok());
  EXPECT_NE(none.status().message().find("no token of its own"), std::string::npos);
  EXPECT_NE(encode_answer(tokenizer, "", "c", -1).status().message().find("context is empty"),
            std::string::npos);
}

TEST(TaskScore, RefusesWithASentence) {
  const auto refused = [](const Model& model, const Tokenizer& tokenizer,
                          const TaskOptions& options, const std::vector<TaskItem>& items,
                          const std::string& words) {
    const auto result =
        score_task(model, tokenizer, items, options, [](const auto&, const auto&) { return true; });
    ASSERT_FALSE(result.ok());
    EXPECT_NE(result.status().message().find(words), std::string::npos)
        << result.status().message();
  };
  const Model model = repeating_model();
  TaskOptions options;
  options.chunk = 0;
  refused(model, letters(), options, {item("a", {"b"})}, "chunk is 0");
  options.chunk = 16;
  refused(model, TableTokenizer::bytes(true), options, {item("a", {"b"})},
          "do not belong together");
  options.bos = true;
  TableTokenizer without = letters();
  without.bos = -1;
  refused(model, without, options, {item("a", {"b"})}, "the tokenizer has none");
  options.bos = false;
  refused(model, without, options, {item("a", {"b"}), item("", {"b"})},
          "item 2: the context is empty");
  refused(model, letters(), options, {item("a", {"b", ""})}, "item 1: an answer has no token");
  Model broken = repeating_model();
  static_cast<float*>(broken.parameters()[0].view.data)[0] = std::nanf("");
  refused(broken, letters(), options, {item("a", {"b"})}, "not finite");
}

TEST(TaskScore, CanBeStopped) {
  std::vector<TaskItem> items(5, item("b", {"b", "c"}));
  const auto result =
      score_task(repeating_model(), letters(), items, {},
                 [](const ItemScore& one, const TaskResult&) { return one.item < 2; });
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.status().code(), StatusCode::kInterrupted);
  EXPECT_EQ(result.status().message(), "stopped after 3 of 5 items; so far 3 of them right");
}

}  // namespace
}  // namespace tnl
