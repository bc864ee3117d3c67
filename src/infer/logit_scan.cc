#include "infer/logit_scan.h"

#include <algorithm>
#include <bit>
#include <cfloat>
#include <cmath>
#include <cstdint>

#include "backend/cpu/simd/kernels.h"

namespace tnl {
namespace {

// Independent lanes, so that a compiler may use the vectors of any processor. Their sums are those
// of floats for a block only.
constexpr std::size_t kLanes = 16, kBlock = 64 * kLanes;

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
  return {.top = *std::max_element(top, top + kLanes),
          .broken = std::ranges::any_of(broken, [](std::int32_t one) { return one != 0; })};
}

bool any_above(std::span<const float> values, float bound) {
  std::int32_t above = 0;
  for (const float value : values) above |= static_cast<std::int32_t>(value > bound);
  return above != 0;
}

double softmax_weights(std::span<const float> logits, float top, double temperature,
                       std::span<float> weights) {
  // Neither end of what a temperature may be makes a scale that turns infinity into NaN.
  const auto scale = static_cast<float>(std::clamp<double>(1 / temperature, FLT_MIN, 1e30));
  return generic::kKernels.softmax_weights(logits.data(), static_cast<std::int64_t>(logits.size()),
                                           top, scale, weights.data());
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
