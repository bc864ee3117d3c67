#include "train/pace.h"

namespace tnl {
namespace {

constexpr double kMemory = 0.9;

// Multiples of `every` in (step, steps], and the last step.
double remaining(std::int64_t every, std::int64_t step, std::int64_t steps) {
  if (step >= steps) return 0;
  if (every == 0) return 1;
  const std::int64_t multiples = steps / every - step / every;
  return static_cast<double>(multiples + (steps % every == 0 ? 0 : 1));
}

}  // namespace

void Pace::step(double seconds, double tokens) {
  weight_ = kMemory * weight_ + 1;
  seconds_ = kMemory * seconds_ + seconds;
  tokens_ = kMemory * tokens_ + tokens;
}

double Pace::seconds_left(const TrainConfig& config, std::int64_t step) const {
  const double one = weight_ > 0 ? seconds_ / weight_ : 0;
  return one * static_cast<double>(config.steps - step) +
         evaluation_ * remaining(config.eval_every, step, config.steps) +
         checkpoint_ * remaining(config.checkpoint_every, step, config.steps);
}

}  // namespace tnl
