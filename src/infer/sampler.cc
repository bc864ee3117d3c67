#include "infer/sampler.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <string>
#include <string_view>

#include <fmt/format.h>

#include "core/try.h"
#include "infer/logit_scan.h"

namespace tnl {
namespace {

// NaN fails both comparisons, so it is out of every range.
Status in_range(std::string_view name, double value, double low, double high) {
  if (value >= low && value <= high) return {};
  return invalid_argument(
      fmt::format("{} is {}, expected a number from {} to {}", name, value, low, high));
}

Status in_range(std::string_view name, std::int64_t value, std::int64_t low, std::int64_t high) {
  if (value >= low && value <= high) return {};
  return invalid_argument(
      fmt::format("{} is {}, expected a number from {} to {}", name, value, low, high));
}

// A weight from which on `weights`, at most 1, add up to `wanted`, without much beyond it; their
// order is not known. 0 where there is none.
double weight_to_reach(std::span<const float> weights, double wanted) {
  constexpr double kFurthest = 64;       // powers of e below the likeliest
  constexpr std::ptrdiff_t kFew = 1024;  // are sorted as fast as all are added up once
  const auto enough = [&](double below) {
    return sum_from(weights, static_cast<float>(std::exp(-below))) >= wanted;
  };
  const auto kept = [&](double below) {
    const auto least = static_cast<float>(std::exp(-below));
    return std::ranges::count_if(weights, [&](float weight) { return weight >= least; });
  };
  double below = 2;
  while (below < kFurthest && !enough(below)) below *= 2;
  if (below >= kFurthest) return 0;
  for (double step = below / 4; step > 0.2 && kept(below) > kFew; step /= 2) {
    if (enough(below - step)) below -= step;
  }
  return std::exp(-below);
}

}  // namespace

Result<Sampler> Sampler::create(const SamplerOptions& options) {
  if (!(options.temperature >= 0) || !std::isfinite(options.temperature)) {
    return invalid_argument(
        fmt::format("temperature is {}, expected a finite number, 0 or more", options.temperature));
  }
  if (options.top_k < 0) {
    return invalid_argument(fmt::format("top_k is {}, expected 0 or more", options.top_k));
  }
  if (!(options.top_p > 0) || options.top_p > 1) {
    return invalid_argument(
        fmt::format("top_p is {}, expected a number above 0 and up to 1", options.top_p));
  }
  TNL_TRY(in_range("min_p", options.min_p, 0, 1));
  // Bounded so that a penalised float stays a finite double.
  TNL_TRY(in_range("repetition_penalty", options.repetition_penalty, 0.01, 100));
  TNL_TRY(in_range("penalty_window", options.penalty_window, 0, Session::kRecentTokens));
  return Sampler(options);
}

void Sampler::accept(std::int32_t id) {
  window_.push_back(id);
  while (static_cast<std::int64_t>(window_.size()) > options_.penalty_window) window_.pop_front();
}

Result<std::int32_t> Sampler::sample(std::span<const float> raw) {
  if (raw.empty()) return invalid_argument("there are no logits to sample from");
  TNL_ASSIGN(float top, largest(raw));
  const std::span<const float> logits = penalise(raw);
  if (logits.data() != raw.data()) top = scan_logits(logits).top;
  if (options_.temperature == 0) {
    return static_cast<std::int32_t>(std::ranges::find(logits, top) - logits.begin());
  }
  const bool filtered = options_.top_p < 1 || options_.min_p > 0;
  if (options_.top_k > 0 && options_.top_k < static_cast<std::int64_t>(logits.size())) {
    keep_likeliest(logits, static_cast<std::size_t>(options_.top_k));
    if (filtered) filter(candidate_weight());
    return draw_candidate();
  }
  if (!filtered) return draw_from_all(logits, top);
  filter(keep_above_filters(logits, top));
  return draw_candidate();
}

Result<float> Sampler::largest(std::span<const float> logits) const {
  const LogitRange range = scan_logits(logits);
  for (std::size_t i = 0; range.broken && i < logits.size(); ++i) {
    if (logits[i] < HUGE_VALF) continue;
    return invalid_argument(fmt::format(
        "the logit of id {} is {}: the model's parameters or its input are broken", i, logits[i]));
  }
  if (!(range.top > -HUGE_VALF)) {
    return invalid_argument("all logits are -infinity: there is no token to draw");
  }
  return range.top;
}

std::span<const float> Sampler::penalise(std::span<const float> logits) {
  if (options_.repetition_penalty == 1 || window_.empty()) return logits;
  penalised_.assign(logits.begin(), logits.end());
  const double penalty = options_.repetition_penalty;
  for (const std::int32_t id : window_) {
    if (id < 0 || id >= static_cast<std::int64_t>(logits.size())) continue;  // cannot be drawn
    const double logit = logits[id];  // once, however often it occurs
    if (logit == -HUGE_VAL) continue;
    penalised_[id] = static_cast<float>(
        std::clamp<double>(logit > 0 ? logit / penalty : logit * penalty, -FLT_MAX, FLT_MAX));
  }
  return penalised_;
}

// One look at every logit, against the least likely of a heap: hardly any of a large vocabulary
// gets into it, and most blocks of it have none that could.
void Sampler::keep_likeliest(std::span<const float> logits, std::size_t count) {
  constexpr std::size_t kBlock = 64;
  const auto above = [](const Candidate& a, const Candidate& b) { return less_likely(b, a); };
  candidates_.clear();
  for (std::size_t first = 0; first < logits.size(); first += kBlock) {
    const std::span<const float> block =
        logits.subspan(first, std::min(kBlock, logits.size() - first));
    const bool full = candidates_.size() == count;
    if (full && !any_above(block, static_cast<float>(candidates_.front().logit))) continue;
    for (std::size_t i = 0; i < block.size(); ++i) {
      const Candidate candidate{block[i], static_cast<std::int32_t>(first + i)};
      if (candidates_.size() == count) {
        if (!less_likely(candidates_.front(), candidate)) continue;
        std::pop_heap(candidates_.begin(), candidates_.end(), above);
        candidates_.pop_back();
      }
      candidates_.push_back(candidate);
      std::push_heap(candidates_.begin(), candidates_.end(), above);
    }
  }
}

double Sampler::keep_above_filters(std::span<const float> logits, float top) {
  weights_.resize(logits.size());
  const double total = softmax_weights(logits, top, 1, weights_);
  // The weights are rounded: what lies at a boundary stays, filter() decides.
  constexpr double kSlack = 1e-5, kSmallest = 1e-37;  // less is 0 there
  double least = options_.min_p > kSmallest ? options_.min_p * (1 - kSlack) : 0;
  if (options_.top_p < 1) {
    least = std::max(least, weight_to_reach(weights_, options_.top_p * total * (1 + kSlack)));
  }
  candidates_.clear();
  const auto bound = static_cast<float>(least);
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (weights_[i] >= bound) candidates_.push_back({logits[i], static_cast<std::int32_t>(i)});
  }
  return total;
}

double Sampler::candidate_weight() const {
  double top = -HUGE_VAL, total = 0;
  for (const Candidate& candidate : candidates_) top = std::max(top, candidate.logit);
  for (const Candidate& candidate : candidates_) total += std::exp(candidate.logit - top);
  return total;
}

// Of equals the one with the higher id is the less likely.
bool Sampler::less_likely(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit < b.logit : a.id > b.id;
}

// Takes candidates from a heap, likeliest first, until a filter says stop: what is kept gets
// sorted, the rest does not.
void Sampler::filter(double total) {
  std::make_heap(candidates_.begin(), candidates_.end(), less_likely);
  const double top = candidates_.front().logit;

  // top-p: stops once what is taken reaches top_p of the whole; the token that reaches it stays.
  // min-p: stops before the first token under the bar. Both keep a head of the sorted list, and the
  // most likely token is in each, so one pass serves the two.
  auto end = candidates_.end();
  double taken = 0;
  while (end != candidates_.begin()) {
    const double weight = std::exp(candidates_.front().logit - top);
    if (weight < options_.min_p) break;
    std::pop_heap(candidates_.begin(), end--, less_likely);
    taken += weight;
    if (options_.top_p < 1 && taken >= options_.top_p * total) break;
  }
  candidates_.erase(candidates_.begin(), end);  // the heap leaves them at the back, ascending
  std::reverse(candidates_.begin(), candidates_.end());
}

std::int32_t Sampler::draw_candidate() {
  double top = -HUGE_VAL;
  for (const Candidate& candidate : candidates_) top = std::max(top, candidate.logit);
  // From here `logit` is the weight: 1 for the likeliest, so that their sum is never 0.
  double total = 0;
  for (Candidate& candidate : candidates_) {
    candidate.logit = std::exp((candidate.logit - top) / options_.temperature);
    total += candidate.logit;
  }
  double left = rng_.uniform() * total;
  std::int32_t last = -1;
  for (const Candidate& candidate : candidates_) {
    if (candidate.logit <= 0) continue;
    last = candidate.id;
    left -= candidate.logit;
    if (left < 0) break;
  }
  return last;
}

// Block after block, then one by one, in the order of the ids.
std::int32_t Sampler::draw_from_all(std::span<const float> logits, float top) {
  constexpr std::size_t kBlock = 1024;
  weights_.resize(logits.size());
  const std::span<const float> weights = weights_;
  double left = rng_.uniform() * softmax_weights(logits, top, options_.temperature, weights_);
  const auto block = [&](std::size_t first) {
    return weights.subspan(first, std::min(kBlock, weights.size() - first));
  };
  std::size_t last = weights.size();  // what is drawn where rounding leaves nothing behind it
  for (std::size_t first = 0; first < weights.size(); first += kBlock) {
    const double whole = sum(block(first));
    if (whole <= 0) continue;
    const bool here = left < whole;
    if (!here) left -= whole;
    last = first;
    if (here) break;
  }
  const std::span<const float> found = block(last);
  std::size_t drawn = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    if (found[i] <= 0) continue;
    drawn = i;
    left -= found[i];
    if (left < 0) break;
  }
  return static_cast<std::int32_t>(last + drawn);
}

Sampler::State Sampler::state() const {
  return {rng_.state(), {window_.begin(), window_.end()}};
}

void Sampler::set_state(const State& state) {
  rng_.set_state(state.rng);
  window_.clear();
  for (const std::int32_t id : state.window) accept(id);
}

}  // namespace tnl
