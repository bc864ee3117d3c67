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
  TNL_TRY(read(logits));
  penalise();
  if (options_.temperature == 0) return most_likely();
  if (filters()) filter();
  return draw();
}

Status Sampler::read(std::span<const float> logits) {
  if (logits.empty()) return invalid_argument("there are no logits to sample from");
  candidates_.resize(logits.size());
  bool finite = false;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (std::isnan(logits[i]) || logits[i] == HUGE_VALF) {
      return invalid_argument(
          fmt::format("the logit of id {} is {}: the model's parameters or its input are broken", i,
                      logits[i]));
    }
    finite = finite || logits[i] != -HUGE_VALF;
    candidates_[i] = {logits[i], static_cast<std::int32_t>(i)};
  }
  if (!finite) return invalid_argument("all logits are -infinity: there is no token to draw");
  return {};
}

void Sampler::penalise() {
  if (options_.repetition_penalty == 1) return;
  std::vector<std::int32_t> seen(window_.begin(), window_.end());
  std::sort(seen.begin(), seen.end());
  seen.erase(std::unique(seen.begin(), seen.end()), seen.end());
  for (const std::int32_t id : seen) {
    if (id < 0 || id >= static_cast<std::int64_t>(candidates_.size())) continue;  // cannot be drawn
    double& logit = candidates_[id].logit;
    logit = logit > 0 ? logit / options_.repetition_penalty : logit * options_.repetition_penalty;
  }
}

std::int32_t Sampler::most_likely() const {
  const auto best =
      std::max_element(candidates_.begin(), candidates_.end(),
                       [](const Candidate& a, const Candidate& b) { return a.logit < b.logit; });
  return best->id;  // of equals max_element returns the first
}

bool Sampler::filters() const {
  const bool top_k =
      options_.top_k > 0 && options_.top_k < static_cast<std::int64_t>(candidates_.size());
  return top_k || options_.top_p < 1 || options_.min_p > 0;
}

// Takes candidates from a heap, likeliest first, until a filter says stop: what is kept gets
// sorted, the rest of the vocabulary does not.
void Sampler::filter() {
  const auto below = [](const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit < b.logit : a.id > b.id;
  };
  std::size_t limit = candidates_.size();
  if (options_.top_k > 0 && options_.top_k < static_cast<std::int64_t>(limit)) {
    limit = static_cast<std::size_t>(options_.top_k);
    std::nth_element(candidates_.begin(), candidates_.begin() + static_cast<std::ptrdiff_t>(limit),
                     candidates_.end(), [&](const auto& a, const auto& b) { return below(b, a); });
    candidates_.resize(limit);
  }
  std::make_heap(candidates_.begin(), candidates_.end(), below);
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
    std::pop_heap(candidates_.begin(), end--, below);
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
