#include "infer/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include <gtest/gtest.h>

namespace tnl {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

Sampler make(const SamplerOptions& options) {
  auto sampler = Sampler::create(options);
  EXPECT_TRUE(sampler.ok()) << sampler.status().message();
  return std::move(sampler).value();
}

std::vector<float> logs(const std::vector<double>& probabilities) {
  std::vector<float> logits;
  for (const double p : probabilities) logits.push_back(static_cast<float>(std::log(p)));
  return logits;
}

std::map<std::int32_t, int> draw(Sampler& sampler, const std::vector<float>& logits, int count) {
  std::map<std::int32_t, int> drawn;
  for (int i = 0; i < count; ++i) {
    const auto id = sampler.sample(logits);
    EXPECT_TRUE(id.ok()) << id.status().message();
    ++drawn[id.ok() ? *id : -1];
  }
  return drawn;
}

// Pearson's statistic against `expected` probabilities, ids from 0.
double chi_square(const std::map<std::int32_t, int>& drawn, const std::vector<double>& expected,
                  int count) {
  double sum = 0;
  for (std::size_t id = 0; id < expected.size(); ++id) {
    const auto found = drawn.find(static_cast<std::int32_t>(id));
    const double observed = found == drawn.end() ? 0 : found->second;
    if (expected[id] == 0) {
      EXPECT_EQ(observed, 0) << "id " << id;
      continue;
    }
    sum += (observed - expected[id] * count) * (observed - expected[id] * count) /
           (expected[id] * count);
  }
  return sum;
}

void expect_distribution(const SamplerOptions& options, const std::vector<float>& logits,
                         const std::vector<double>& expected) {
  constexpr int kDraws = 40000;
  Sampler sampler = make(options);
  const auto drawn = draw(sampler, logits, kDraws);
  // 16.27 is the 0.1 % point of chi-square with 3 degrees of freedom; fewer have a lower one.
  EXPECT_LT(chi_square(drawn, expected, kDraws), 16.27);
}

TEST(Sampler, DrawsFromTheSoftmax) {
  expect_distribution({.seed = 1}, logs({0.4, 0.3, 0.2, 0.1}), {0.4, 0.3, 0.2, 0.1});
  expect_distribution({.seed = 2}, {7, 7, 7, 7}, {0.25, 0.25, 0.25, 0.25});
}

TEST(Sampler, TemperatureIsAPowerOfTheProbabilities) {
  expect_distribution({.temperature = 0.5, .seed = 3}, logs({0.4, 0.3, 0.2, 0.1}),
                      {0.16 / 0.3, 0.09 / 0.3, 0.04 / 0.3, 0.01 / 0.3});
}

TEST(Sampler, TemperatureZeroTakesTheLowestOfTheMostLikely) {
  Sampler sampler = make({.temperature = 0, .seed = 4});
  const Rng::State before = sampler.state().rng;
  EXPECT_EQ(*sampler.sample(std::vector<float>{1, 3, 3, -2, 3}), 1);
  EXPECT_EQ(*sampler.sample(std::vector<float>{-kInfinity, -8, -9}), 1);
  EXPECT_EQ(sampler.state().rng, before);
}

TEST(Sampler, TopKKeepsTheLikeliest) {
  expect_distribution({.top_k = 2, .seed = 5}, logs({0.1, 0.4, 0.2, 0.3}),
                      {0, 4.0 / 7, 0, 3.0 / 7});
  expect_distribution({.top_k = 2, .seed = 6}, {1, 1, 1, 1}, {0.5, 0.5, 0, 0});  // ties: low ids
  expect_distribution({.top_k = 4, .seed = 7}, logs({0.4, 0.3, 0.2, 0.1}), {0.4, 0.3, 0.2, 0.1});
  expect_distribution({.top_k = 1 << 30, .seed = 8}, logs({0.4, 0.3, 0.2, 0.1}),
                      {0.4, 0.3, 0.2, 0.1});
}

TEST(Sampler, TopPKeepsTheTokenThatReachesIt) {
  expect_distribution({.top_p = 0.65, .seed = 9}, logs({0.2, 0.4, 0.1, 0.3}),
                      {0, 4.0 / 7, 0, 3.0 / 7});
  expect_distribution({.top_p = 0.75, .seed = 10}, logs({0.2, 0.4, 0.1, 0.3}),
                      {2.0 / 9, 4.0 / 9, 0, 3.0 / 9});
  expect_distribution({.top_p = 1e-9, .seed = 11}, logs({0.2, 0.4, 0.1, 0.3}), {0, 1, 0, 0});
}

TEST(Sampler, MinPIsMeasuredFromTheMostLikely) {
  expect_distribution({.min_p = 0.45, .seed = 12}, logs({0.4, 0.3, 0.2, 0.1}),
                      {4.0 / 9, 3.0 / 9, 2.0 / 9, 0});
  expect_distribution({.min_p = 0.6, .seed = 13}, logs({0.4, 0.3, 0.2, 0.1}),
                      {4.0 / 7, 3.0 / 7, 0, 0});
  expect_distribution({.min_p = 1, .seed = 14}, {2, 1, 2, 0}, {0.5, 0, 0.5, 0});
}

// top-p sees what top-k left: 4/9 + 3/9 reach 0.72, where 0.4 + 0.3 would not.
TEST(Sampler, TopPCountsWhatTopKKept) {
  expect_distribution({.top_k = 3, .top_p = 0.72, .seed = 15}, logs({0.4, 0.3, 0.2, 0.1}),
                      {4.0 / 7, 3.0 / 7, 0, 0});
}

TEST(Sampler, TemperatureComesAfterTheFilters) {
  expect_distribution({.temperature = 1e6, .top_p = 0.65, .seed = 16}, logs({0.4, 0.3, 0.2, 0.1}),
                      {0.5, 0.5, 0, 0});
  expect_distribution({.temperature = 1e6, .min_p = 0.45, .seed = 17}, logs({0.4, 0.3, 0.2, 0.1}),
                      {1.0 / 3, 1.0 / 3, 1.0 / 3, 0});
}

TEST(Sampler, PenaltyDividesPositiveAndMultipliesNegativeLogitsOnce) {
  Sampler sampler = make({.repetition_penalty = 2, .seed = 18});
  for (const std::int32_t id : {0, 1, 0, 0}) sampler.accept(id);
  const double z = std::exp(1) + std::exp(-2) + std::exp(1);  // logits 2, -1, 1 become 1, -2, 1
  const auto drawn = draw(sampler, {2, -1, 1}, 40000);
  EXPECT_LT(chi_square(drawn, {std::exp(1) / z, std::exp(-2) / z, std::exp(1) / z}, 40000), 16.27);
}

TEST(Sampler, PenaltyForgetsWhatLeftTheWindow) {
  Sampler sampler = make({.temperature = 0, .repetition_penalty = 3, .penalty_window = 2});
  const std::vector<float> logits = {2, 1.9F, 1.8F};
  sampler.accept(0);
  sampler.accept(1);
  EXPECT_EQ(*sampler.sample(logits), 2);
  sampler.accept(1);
  EXPECT_EQ(*sampler.sample(logits), 0);
  EXPECT_EQ(sampler.state().window, (std::vector<std::int32_t>{1, 1}));
}

// Every filter by sorting everything, then the same draw; where nothing is left out, by id.
std::int32_t reference(const SamplerOptions& options, const std::vector<float>& logits, double u) {
  std::vector<std::pair<double, std::int32_t>> kept;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    kept.emplace_back(-static_cast<double>(logits[i]), i);
  }
  const auto by_id = kept;
  std::sort(kept.begin(), kept.end());
  const double top = kept[0].first;
  if (options.top_k > 0 && options.top_k < static_cast<std::int64_t>(kept.size())) {
    kept.resize(options.top_k);
  }
  const auto sum = [&](double temperature) {
    double total = 0;
    for (const auto& entry : kept) total += std::exp((kept[0].first - entry.first) / temperature);
    return total;
  };
  if (options.top_p < 1) {
    const double target = options.top_p * sum(1);
    double taken = 0;
    std::size_t count = 0;
    while (count < kept.size() && taken < target) {
      taken += std::exp(kept[0].first - kept[count++].first);
    }
    kept.resize(count);
  }
  while (std::exp(kept[0].first - kept.back().first) < options.min_p) kept.pop_back();
  double left = u * sum(options.temperature);
  for (const auto& entry : options.top_p == 1 && options.min_p == 0 ? by_id : kept) {
    left -= std::exp((top - entry.first) / options.temperature);
    if (left < 0) return entry.second;
  }
  return kept.back().second;
}

TEST(Sampler, EqualsSortingEverything) {
  Rng rng(19);
  for (int round = 0; round < 400; ++round) {
    SamplerOptions options;
    options.temperature = 0.2 + 2 * rng.uniform();
    options.top_k = round % 3 == 0 ? 0 : 1 + static_cast<std::int64_t>(rng.below(400));
    options.top_p = round % 7 == 0 ? 1 : 0.05 + 0.94 * rng.uniform();
    options.min_p = round % 2 == 0 ? 0 : 0.3 * rng.uniform();
    if (options.top_p == 1 && options.min_p == 0) options.top_k = 0;
    options.seed = rng.next();
    std::vector<float> logits(round % 5 == 0 ? 5003 : 1 + rng.below(300));
    for (float& logit : logits) logit = static_cast<float>(std::round(8 * rng.normal()) / 4);
    Sampler sampler = make(options);
    Rng same(options.seed);
    for (int i = 0; i < 10; ++i) {
      EXPECT_EQ(*sampler.sample(logits), reference(options, logits, same.uniform()));
    }
  }
}

// The likeliest token of a large vocabulary wherever it is, and the same with a filter that keeps
// it alone.
TEST(Sampler, FindsTheLikeliestAnywhere) {
  for (const std::size_t size : {1u, 15u, 16u, 63u, 64u, 65u, 1029u}) {
    for (std::size_t at = 0; at < size; at += 1 + size / 40) {
      std::vector<float> logits(size, -3.5F);
      logits[at] = -3;
      for (const SamplerOptions& options :
           {SamplerOptions{.temperature = 0}, SamplerOptions{.top_k = 1},
            SamplerOptions{.top_p = 1e-9}, SamplerOptions{.min_p = 0.99},
            SamplerOptions{.temperature = 1e-3}}) {
        EXPECT_EQ(*make(options).sample(logits), static_cast<std::int32_t>(at)) << size;
      }
    }
  }
}

// Likelier than they look once the temperature is high.
TEST(Sampler, KeepsWhatATinyMinPKeeps) {
  expect_distribution({.temperature = 1e6, .min_p = 1e-40, .seed = 25}, {20, -70, -71, -72},
                      {0.25, 0.25, 0.25, 0.25});
  expect_distribution({.temperature = 1e6, .min_p = 1e-36, .seed = 26}, {20, -70, -71, -72},
                      {1, 0, 0, 0});
}

TEST(Sampler, SeedDecidesAndStateContinues) {
  const std::vector<float> logits(1000, 0.0F);
  const SamplerOptions options = {.repetition_penalty = 1.5, .penalty_window = 8, .seed = 20};
  Sampler first = make(options), second = make(options);
  std::vector<std::int32_t> ids;
  for (int i = 0; i < 20; ++i) {
    ids.push_back(*first.sample(logits));
    EXPECT_EQ(ids.back(), *second.sample(logits));
    first.accept(ids.back());
    second.accept(ids.back());
  }
  EXPECT_GT(std::set<std::int32_t>(ids.begin(), ids.end()).size(), 15u);
  Sampler continued = make({.repetition_penalty = 1.5, .penalty_window = 8, .seed = 99});
  continued.set_state(first.state());
  EXPECT_EQ(continued.state().window, first.state().window);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(*continued.sample(logits), *first.sample(logits));
}

TEST(Sampler, RefusesLogitsThatAreNoDistribution) {
  Sampler sampler = make({});
  const auto message = [&](std::vector<float> logits) {
    const auto id = sampler.sample(logits);
    return id.ok() ? std::string("ok") : id.status().message();
  };
  EXPECT_NE(message({0, 1, std::nanf("")}).find("logit of id 2 is nan"), std::string::npos);
  EXPECT_NE(message({0, kInfinity}).find("logit of id 1 is inf"), std::string::npos);
  EXPECT_NE(message({-kInfinity, -kInfinity}).find("all logits"), std::string::npos);
  EXPECT_NE(message({}).find("no logits"), std::string::npos);
  EXPECT_EQ(message({0, -kInfinity}), "ok");
}

TEST(Sampler, NeverDrawsMinusInfinity) {
  for (const double temperature : {1e-300, 0.7, 1e300}) {
    Sampler sampler = make({.temperature = temperature, .seed = 21});
    const auto drawn = draw(sampler, {-kInfinity, 0, -kInfinity, 0}, 500);
    EXPECT_EQ(drawn.size(), 2u);
    EXPECT_GT(drawn.at(1), 180);
    EXPECT_GT(drawn.at(3), 180);
  }
}

TEST(Sampler, ExtremesStayDefined) {
  const float big = std::numeric_limits<float>::max();
  for (const double temperature : {5e-324, 1e-300, 1e-3, 1.0, 1e300, 1.7e308}) {
    for (const double penalty : {0.01, 1.0, 100.0}) {
      for (const double top_p : {5e-324, 0.5, 1.0}) {
        Sampler sampler = make({.temperature = temperature,
                                .top_k = 3,
                                .top_p = top_p,
                                .min_p = 0.5,
                                .repetition_penalty = penalty,
                                .seed = 22});
        for (const std::int32_t id : {0, 1, 2}) sampler.accept(id);
        for (int i = 0; i < 20; ++i) {
          const auto id = sampler.sample(std::vector<float>{big, -big, big, 0, 1e-40F});
          ASSERT_TRUE(id.ok());
          EXPECT_TRUE(*id == 0 || *id == 2) << *id;
        }
      }
    }
  }
  // A temperature near 0 is the most likely token, a huge one is uniform.
  expect_distribution({.temperature = 1e-300, .seed = 23}, {0, 0.001F, -1}, {0, 1, 0});
  expect_distribution({.temperature = 1e300, .seed = 24}, {-50, 0, 50}, {1. / 3, 1. / 3, 1. / 3});
}

TEST(Sampler, NamesTheOptionOutOfRange) {
  const auto refuses = [](const SamplerOptions& options, const char* name) {
    const auto sampler = Sampler::create(options);
    ASSERT_FALSE(sampler.ok()) << name;
    EXPECT_EQ(sampler.status().code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(sampler.status().message().rfind(name, 0), 0u) << sampler.status().message();
  };
  const double nan = std::nan(""), infinity = HUGE_VAL;
  for (const double bad : {-0.1, nan, infinity}) refuses({.temperature = bad}, "temperature");
  refuses({.top_k = -1}, "top_k");
  for (const double bad : {0.0, -1.0, 1.01, nan}) refuses({.top_p = bad}, "top_p");
  for (const double bad : {-0.01, 1.01, nan}) refuses({.min_p = bad}, "min_p");
  for (const double bad : {0.0, -1.0, 101.0, nan, infinity}) {
    refuses({.repetition_penalty = bad}, "repetition_penalty");
  }
  for (const std::int64_t bad : {std::int64_t{-1}, Session::kRecentTokens + 1}) {
    refuses({.penalty_window = bad}, "penalty_window");
  }
}

}  // namespace
}  // namespace tnl
