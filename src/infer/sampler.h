// Draws the next token from logits.
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "core/rng.h"
#include "tnl/session.h"
#include "tnl/status.h"

namespace tnl {

class Sampler {
 public:
  // Everything that decides the draws to come; a saved session holds one.
  struct State {
    Rng::State rng{};
    std::vector<std::int32_t> window;  // oldest first
  };

  // The option out of its range is named.
  static Result<Sampler> create(const SamplerOptions& options);

  // A token of the text, of the prompt or drawn, enters the penalty window.
  void accept(std::int32_t id);
  // An id in [0, logits.size()); -infinity is a token that is never drawn. One draw from the
  // generator, none at temperature 0.
  Result<std::int32_t> sample(std::span<const float> logits);

  State state() const;
  // The window keeps the last penalty_window ids of the state's.
  void set_state(const State& state);

 private:
  struct Candidate {
    double logit;
    std::int32_t id;
  };
  explicit Sampler(const SamplerOptions& options) : options_(options), rng_(options.seed) {}

  Result<float> largest(std::span<const float> logits) const;  // of a distribution
  // Of the logits, with the penalty for what was seen: in penalised_ where there is one.
  std::span<const float> penalise(std::span<const float> logits);
  // Into candidates_: the `count` likeliest in any order.
  void keep_likeliest(std::span<const float> logits, std::size_t count);
  // Into candidates_: all that top-p and min-p may keep. Returns the weight of the whole
  // vocabulary.
  double keep_above_filters(std::span<const float> logits, float top);
  double candidate_weight() const;
  static bool less_likely(const Candidate& a, const Candidate& b);
  void filter(double total);
  std::int32_t draw_candidate();
  std::int32_t draw_from_all(std::span<const float> logits, float top);

  SamplerOptions options_;
  Rng rng_;
  std::deque<std::int32_t> window_;
  std::vector<Candidate> candidates_;  // what the steps so far have kept
  std::vector<float> penalised_, weights_;
};

}  // namespace tnl
