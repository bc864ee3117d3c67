// The learning rate of every step.
#pragma once

#include <cstdint>

#include "tnl/train.h"

namespace tnl {

// `step` counts from 1 to config.steps. Warm-up: learning_rate · step / warmup_steps. Then, to
// min_learning_rate at the last step, either half a cosine over all that is left or, under "wsd",
// constant until the last wsd_decay · steps and linear from there.
double learning_rate_at(const TrainConfig& config, std::int64_t step);

}  // namespace tnl
