#include "infer/logit_scan.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace tnl {
namespace {

// Independent lanes, so that a compiler may use the vectors of any processor. Their sums are those
// of floats for a block only.
constexpr std::size_t kLanes = 16, kBlock = 64 * kLanes;

// Vectors that every processor has: left alone, a compiler makes branches of the selections below.
using Floats = float __attribute__((vector_size(16)));
using Ints = std::int32_t __attribute__((vector_size(16)));
constexpr std::size_t kFloats = sizeof(Floats) / sizeof(float);

// e^x for x in [-87, 0]: 2^n times a polynomial in what is left, |r| <= ln(2) / 2.
inline Floats exponential(Floats x) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number
  const Floats shifted = x * 1.44269504f + kRound;
  const Floats n = shifted - kRound;
  const Floats r = (x - n * 0.693145752f) - n * 1.42860677e-6f;
  Floats p = r * (1.0f / 720) + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const Ints power = std::bit_cast<Ints>(shifted) << 23;  // n in its lowest bits
  return std::bit_cast<Floats>(std::bit_cast<Ints>(p) + power);
}

inline Floats weight(Floats logit, float top, float scale) {
  const Floats least = Floats{} - 87.0f;
  const Floats x = (logit - top) * scale;  // NaN where infinity meets a scale of 0: not kept
  const Ints kept = x > least;
  const Ints clamped = (std::bit_cast<Ints>(x) & kept) | (std::bit_cast<Ints>(least) & ~kept);
  return std::bit_cast<Floats>(std::bit_cast<Ints>(exponential(std::bit_cast<Floats>(clamped))) &
                               kept);
}

template <class Value>
double sum_of(std::size_t count, const Value& value) {
  double total = 0;
  std::size_t i = 0;
  while (i + kLanes <= count) {
    float lanes[kLanes] = {};
    const std::size_t end = std::min(i + kBlock, count - count % kLanes);
    for (; i < end; i += kLanes) {
      for (std::size_t lane = 0; lane < kLanes; ++lane) lanes[lane] += value(i + lane);
    }
    for (const float lane : lanes) total += lane;
  }
  for (; i < count; ++i) total += value(i);
  return total;
}

}  // namespace

LogitRange scan_logits(std::span<const float> logits) {
  float top[kLanes];
  std::int32_t broken[kLanes] = {};
  std::fill_n(top, kLanes, -HUGE_VALF);
  const auto look = [&](float logit, std::size_t lane) {
    top[lane] = logit > top[lane] ? logit : top[lane];
    broken[lane] |= static_cast<std::int32_t>(!(logit < HUGE_VALF));  // NaN is not
  };
  std::size_t i = 0;
  for (; i + kLanes <= logits.size(); i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) look(logits[i + lane], lane);
  }
  for (; i < logits.size(); ++i) look(logits[i], 0);
  LogitRange range{*std::max_element(top, top + kLanes), false, false};
  for (const std::int32_t one : broken) range.broken = range.broken || one != 0;
  range.all_excluded = !range.broken && !(range.top > -HUGE_VALF);
  return range;
}

bool any_above(std::span<const float> values, float bound) {
  std::int32_t above = 0;
  for (const float value : values) above |= static_cast<std::int32_t>(value > bound);
  return above != 0;
}

double softmax_weights(std::span<const float> logits, float top, double temperature,
                       std::span<float> weights) {
  const auto scale = static_cast<float>(std::min(1 / temperature, 1e30));
  const auto weigh = [&](std::size_t at, std::size_t bytes) {
    Floats some = Floats{} + top;  // where there are fewer
    std::memcpy(&some, logits.data() + at, bytes);
    some = weight(some, top, scale);
    std::memcpy(weights.data() + at, &some, bytes);
  };
  std::size_t i = 0;
  for (; i + kFloats <= logits.size(); i += kFloats) weigh(i, sizeof(Floats));
  if (i < logits.size()) weigh(i, sizeof(float) * (logits.size() - i));
  return sum(weights);
}

double sum(std::span<const float> weights) {
  return sum_of(weights.size(), [&](std::size_t i) { return weights[i]; });
}

double sum_from(std::span<const float> weights, float least) {
  return sum_of(weights.size(), [&](std::size_t i) {
    const std::int32_t kept = weights[i] >= least;
    return std::bit_cast<float>(std::bit_cast<std::int32_t>(weights[i]) & -kept);
  });
}

}  // namespace tnl
