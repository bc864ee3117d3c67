// How fast a run goes and how long it will still take.
#pragma once

#include <cstdint>

#include "tnl/train.h"

namespace tnl {

class Pace {
 public:
  void step(double seconds, double tokens);
  void evaluation(double seconds) { evaluation_ = seconds; }
  void checkpoint(double seconds) { checkpoint_ = seconds; }

  // Over about the last ten steps; 0 before the first.
  double tokens_per_second() const { return seconds_ > 0 ? tokens_ / seconds_ : 0; }
  // Steps, evaluations and checkpoints that remain behind `step`.
  double seconds_left(const TrainConfig& config, std::int64_t step) const;

 private:
  // Sums in which every step counts 0.9 times as much as the one after it.
  double weight_ = 0, seconds_ = 0, tokens_ = 0;
  double evaluation_ = 0, checkpoint_ = 0;  // seconds of the last
};

}  // namespace tnl
