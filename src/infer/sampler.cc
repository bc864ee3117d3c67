#include "infer/sampler.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <string_view>

#include <fmt/format.h>

#include "core/try.h"

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

Result<std::int32_t> Sampler::sample(std::span<const float> logits) {
  TNL_TRY(check(logits));
  const bool penalised = options_.repetition_penalty != 1;
  std::vector<std::int32_t> seen;
  if (penalised) {
    seen.assign(window_.begin(), window_.end());
    std::sort(seen.begin(), seen.end());
    seen.erase(std::unique(seen.begin(), seen.end()), seen.end());
  }
  const auto count = static_cast<std::int64_t>(logits.size());
  const std::int64_t limit = options_.temperature == 0                      ? 1
                             : options_.top_k > 0 && options_.top_k < count ? options_.top_k
                                                                            : count;
  if (limit < count) {
    read_likeliest(logits, seen, static_cast<std::size_t>(limit));
  } else {
    read_all(logits, seen);
  }
  if (options_.temperature == 0) return candidates_.front().id;
  if (options_.top_p < 1 || options_.min_p > 0) filter();
  return draw();
}

Status Sampler::check(std::span<const float> logits) const {
  if (logits.empty()) return invalid_argument("there are no logits to sample from");
  bool broken = false, finite = false;  // without a branch: a vocabulary is large
  for (const float logit : logits) {
    broken |= !(logit < HUGE_VALF);
    finite |= logit > -HUGE_VALF;
  }
  for (std::size_t i = 0; broken && i < logits.size(); ++i) {
    if (logits[i] < HUGE_VALF) continue;
    return invalid_argument(fmt::format(
        "the logit of id {} is {}: the model's parameters or its input are broken", i, logits[i]));
  }
  if (!finite) return invalid_argument("all logits are -infinity: there is no token to draw");
  return {};
}

double Sampler::penalise(double logit) const {
  return logit > 0 ? logit / options_.repetition_penalty : logit * options_.repetition_penalty;
}

void Sampler::read_all(std::span<const float> logits, std::span<const std::int32_t> seen) {
  candidates_.resize(logits.size());
  for (std::size_t i = 0; i < logits.size(); ++i) {
    candidates_[i] = {logits[i], static_cast<std::int32_t>(i)};
  }
  for (const std::int32_t id : seen) {
    if (id < 0 || id >= static_cast<std::int64_t>(logits.size())) continue;  // cannot be drawn
    candidates_[id].logit = penalise(logits[id]);
  }
}

// One look at every logit, against the least likely of a heap: hardly any of a large vocabulary
// gets into it.
void Sampler::read_likeliest(std::span<const float> logits, std::span<const std::int32_t> seen,
                             std::size_t count) {
  const auto above = [](const Candidate& a, const Candidate& b) { return less_likely(b, a); };
  candidates_.clear();
  const auto offer = [&](const Candidate& candidate) {
    if (candidates_.size() == count) {
      if (!less_likely(candidates_.front(), candidate)) return;
      std::pop_heap(candidates_.begin(), candidates_.end(), above);
      candidates_.pop_back();
    }
    candidates_.push_back(candidate);
    std::push_heap(candidates_.begin(), candidates_.end(), above);
  };
  const auto size = static_cast<std::int64_t>(logits.size());
  std::int64_t next = 0;  // first id that has not been looked at
  const auto offer_up_to = [&](std::int64_t end) {
    for (; next < end; ++next) {
      const float logit = logits[static_cast<std::size_t>(next)];
      if (candidates_.size() == count && logit < candidates_.front().logit) continue;
      offer({logit, static_cast<std::int32_t>(next)});
    }
  };
  for (const std::int32_t id : seen) {
    if (id < 0 || id >= size) continue;  // cannot be drawn
    offer_up_to(id);
    offer({penalise(logits[static_cast<std::size_t>(id)]), id});
    next = id + 1;
  }
  offer_up_to(size);
}

// Of equals the one with the higher id is the less likely.
bool Sampler::less_likely(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit < b.logit : a.id > b.id;
}

// Takes candidates from a heap, likeliest first, until a filter says stop: what is kept gets
// sorted, the rest does not.
void Sampler::filter() {
  std::make_heap(candidates_.begin(), candidates_.end(), less_likely);
  const double top = candidates_.front().logit;
  double total = 0;
  for (const Candidate& candidate : candidates_) total += std::exp(candidate.logit - top);

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

std::int32_t Sampler::draw() {
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

Sampler::State Sampler::state() const {
  return {rng_.state(), {window_.begin(), window_.end()}};
}

void Sampler::set_state(const State& state) {
  rng_.set_state(state.rng);
  window_.clear();
  for (const std::int32_t id : state.window) accept(id);
}

}  // namespace tnl
