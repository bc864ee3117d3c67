#include <cmath>
#include <optional>

#include <gtest/gtest.h>

#include "infer/tiny_model.h"
#include "tnl/session.h"

namespace tnl {
namespace {

using testing::random_tokens;
using testing::tiny_config;
using testing::tiny_model;

constexpr std::int64_t kVocab = 61;

Session make(const Model& model, std::int64_t prefill_chunk = 512) {
  auto session = Session::create(model, prefill_chunk);
  EXPECT_TRUE(session.ok()) << session.status().message();
  return std::move(session).value();
}

void feed(Session& session, std::span<const std::int32_t> tokens) {
  const Status status = session.feed(tokens);
  ASSERT_TRUE(status.ok()) << status.message();
}

// Difference relative to the largest magnitude.
double difference(std::span<const float> found, std::span<const float> expected) {
  EXPECT_EQ(found.size(), expected.size());
  double largest = 0, error = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    largest = std::max<double>(largest, std::abs(expected[i]));
    error = std::max<double>(error, std::abs(found[i] - expected[i]));
  }
  EXPECT_GT(largest, 0.1);
  return error / largest;
}

std::vector<float> copy(std::span<const float> values) {
  return {values.begin(), values.end()};
}

class SessionOn : public ::testing::TestWithParam<std::tuple<const char*, Generation>> {
 protected:
  Model model = tiny_model(tiny_config(kVocab, std::get<1>(GetParam())), std::get<0>(GetParam()));
};

INSTANTIATE_TEST_SUITE_P(All, SessionOn,
                         ::testing::Combine(::testing::Values("cpu", "reference"),
                                            ::testing::Values(Generation::kTnl, Generation::kTnl3)),
                         [](const auto& info) {
                           return std::string(std::get<0>(info.param)) +
                                  (std::get<1>(info.param) == Generation::kTnl ? "Tnl" : "Tnl3");
                         });

TEST_P(SessionOn, AnyChunkingGivesTheSameLogits) {
  const std::vector<std::int32_t> tokens = random_tokens(150, kVocab, 1);
  Session whole = make(model);
  feed(whole, tokens);
  for (const std::int64_t chunk : {1, 2, 7, 64, 149, 150}) {
    Session session = make(model, chunk);
    feed(session, tokens);
    EXPECT_LT(difference(session.logits(), whole.logits()), 1e-5) << "prefill_chunk " << chunk;
    EXPECT_EQ(session.position(), 150);
  }
  for (const std::size_t piece : {1, 3, 40}) {
    Session session = make(model, 16);
    for (std::size_t begin = 0; begin < tokens.size(); begin += piece) {
      feed(session, std::span(tokens).subspan(begin, std::min(piece, tokens.size() - begin)));
    }
    EXPECT_LT(difference(session.logits(), whole.logits()), 1e-5) << "pieces of " << piece;
  }
}

TEST_P(SessionOn, ScoreIsTheLogSoftmaxOfTheLogitsBefore) {
  const std::vector<std::int32_t> tokens = random_tokens(70, kVocab, 2);
  std::vector<double> expected;
  Session stepped = make(model);
  for (const std::int32_t token : tokens) {
    double value = 0;
    if (stepped.position() > 0) {
      double sum = 0;
      for (const float logit : stepped.logits()) sum += std::exp(static_cast<double>(logit));
      value = stepped.logits()[token] - std::log(sum);
    }
    expected.push_back(value);
    feed(stepped, {&token, 1});
  }
  EXPECT_EQ(expected[0], 0);
  for (const std::size_t piece : {1, 2, 9, 33, 70}) {
    Session session = make(model, 8);
    std::vector<double> scores, all;
    for (std::size_t begin = 0; begin < tokens.size(); begin += piece) {
      const auto part = std::span(tokens).subspan(begin, std::min(piece, tokens.size() - begin));
      const Status status = session.score(part, scores);
      ASSERT_TRUE(status.ok()) << status.message();
      ASSERT_EQ(scores.size(), part.size());
      all.insert(all.end(), scores.begin(), scores.end());
    }
    for (std::size_t i = 0; i < tokens.size(); ++i) EXPECT_NEAR(all[i], expected[i], 2e-5) << i;
    EXPECT_LT(difference(session.logits(), stepped.logits()), 1e-5);
    EXPECT_EQ(session.position(), 70);
  }
}

TEST_P(SessionOn, AForkIsIndependent) {
  const std::vector<std::int32_t> prompt = random_tokens(30, kVocab, 3);
  const std::vector<std::int32_t> left = random_tokens(12, kVocab, 4);
  const std::vector<std::int32_t> right = random_tokens(12, kVocab, 5);
  const auto alone = [&](const std::vector<std::int32_t>& ending) {
    Session session = make(model);
    feed(session, prompt);
    feed(session, ending);
    return copy(session.logits());
  };
  std::optional<Session> original = make(model);
  feed(*original, prompt);
  auto fork = original->fork();
  ASSERT_TRUE(fork.ok()) << fork.status().message();
  EXPECT_EQ(copy(fork->logits()), copy(original->logits()));
  EXPECT_EQ(fork->position(), 30);
  feed(*original, left);
  EXPECT_EQ(copy(original->logits()), alone(left));
  original.reset();  // the fork outlives it
  feed(*fork, right);
  EXPECT_EQ(copy(fork->logits()), alone(right));
  EXPECT_EQ(fork->position(), 42);
}

TEST_P(SessionOn, ResetForgetsEverything) {
  const std::vector<std::int32_t> tokens = random_tokens(20, kVocab, 6);
  Session session = make(model);
  feed(session, tokens);
  const std::vector<float> fresh = copy(session.logits());
  feed(session, random_tokens(20, kVocab, 7));
  session.reset();
  EXPECT_EQ(session.position(), 0);
  EXPECT_TRUE(session.logits().empty());
  EXPECT_TRUE(session.recent().empty());
  feed(session, tokens);
  EXPECT_EQ(copy(session.logits()), fresh);
}

TEST(Session, StartsEmpty) {
  Session session = make(tiny_model(tiny_config(kVocab)));
  EXPECT_EQ(session.position(), 0);
  EXPECT_TRUE(session.logits().empty());
  feed(session, {});
  EXPECT_TRUE(session.logits().empty());
  std::vector<double> scores(3);
  EXPECT_TRUE(session.score({}, scores).ok());
  EXPECT_TRUE(scores.empty());
}

TEST(Session, NamesTheIdOutOfRangeAndReadsNothing) {
  Session session = make(tiny_model(tiny_config(kVocab)));
  feed(session, std::vector<std::int32_t>{1, 2, 3});
  const std::vector<float> before = copy(session.logits());
  std::vector<double> scores;
  for (const std::int32_t bad : {-1, 61, 70000}) {
    const std::vector<std::int32_t> tokens = {4, bad};
    for (const Status& status : {session.feed(tokens), session.score(tokens, scores)}) {
      ASSERT_FALSE(status.ok());
      EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
      EXPECT_EQ(status.message(), "token 1 is " + std::to_string(bad) +
                                      ", expected an id from 0 to 60 (vocabulary of 61)");
    }
  }
  EXPECT_EQ(session.position(), 3);
  EXPECT_EQ(copy(session.logits()), before);
}

TEST(Session, RemembersTheLastTokens) {
  Session session = make(tiny_model(tiny_config(kVocab)));
  const std::vector<std::int32_t> tokens = random_tokens(9000, kVocab, 8);
  std::size_t fed = 0;
  for (const std::size_t count : {1, 4000, 99, 4200, 700}) {
    feed(session, std::span(tokens).subspan(fed, count));
    fed += count;
    const auto kept = std::min<std::size_t>(fed, Session::kRecentTokens);
    const auto expected = std::span(tokens).subspan(fed - kept, kept);
    EXPECT_TRUE(std::equal(session.recent().begin(), session.recent().end(), expected.begin(),
                           expected.end()));
  }
}

TEST(Session, RefusesAChunkOfNothing) {
  const auto session = Session::create(tiny_model(tiny_config(kVocab)), -1);
  ASSERT_FALSE(session.ok());
  EXPECT_NE(session.status().message().find("prefill_chunk is -1"), std::string::npos);
}

}  // namespace
}  // namespace tnl
