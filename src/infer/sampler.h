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

  Status check(std::span<const float> logits) const;
  double penalise(double logit) const;
  // Into candidates_, with the penalty for what was seen: all of them, or the `count` likeliest in
  // any order.
  void read_all(std::span<const float> logits, std::span<const std::int32_t> seen);
  void read_likeliest(std::span<const float> logits, std::span<const std::int32_t> seen,
                      std::size_t count);
  static bool less_likely(const Candidate& a, const Candidate& b);
  void filter();
  std::int32_t draw();

  SamplerOptions options_;
  Rng rng_;
  std::deque<std::int32_t> window_;
  std::vector<Candidate> candidates_;  // what the steps so far have kept
};

}  // namespace tnl
