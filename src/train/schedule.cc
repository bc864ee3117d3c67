#include "train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace tnl {

double learning_rate_at(const TrainConfig& config, std::int64_t step) {
  const double high = config.learning_rate;
  const double low = config.min_learning_rate == -1 ? 0.1 * high : config.min_learning_rate;
  if (step <= config.warmup_steps) {
    return high * static_cast<double>(step) / static_cast<double>(config.warmup_steps);
  }
  std::int64_t first = config.warmup_steps;  // the last step at the full rate
  if (config.schedule == "wsd") {
    const std::int64_t decay = std::llround(config.wsd_decay * static_cast<double>(config.steps));
    first = std::max(first, config.steps - decay);
    if (step <= first) return high;
  }
  const double done = static_cast<double>(std::min(step, config.steps) - first) /
                      static_cast<double>(std::max<std::int64_t>(config.steps - first, 1));
  if (config.schedule == "wsd") return high + (low - high) * done;
  return low + (high - low) * 0.5 * (1 + std::cos(std::numbers::pi * done));
}

}  // namespace tnl
