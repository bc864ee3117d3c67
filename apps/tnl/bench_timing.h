// Timing shared by the subcommands of `tnl bench`.
#pragma once

#include <algorithm>
#include <chrono>
#include <functional>
#include <vector>

#include "tnl/cli.h"

namespace tnl::command {

struct Timing {
  double best = 0, median = 0;  // seconds
};

// Runs `warm_up` times unmeasured and then `repeat` times. Throws Exit for an error or an
// interruption.
inline Timing measure(int repeat, const std::function<Status()>& run, int warm_up = 1) {
  using Clock = std::chrono::steady_clock;
  for (int i = 0; i < warm_up; ++i) require(run());
  std::vector<double> seconds(static_cast<std::size_t>(repeat));
  for (double& one : seconds) {
    if (interrupt_requested()) throw Exit{kExitInterrupted, ""};
    const auto start = Clock::now();
    require(run());
    one = std::chrono::duration<double>(Clock::now() - start).count();
  }
  std::sort(seconds.begin(), seconds.end());
  return {seconds.front(), seconds[seconds.size() / 2]};
}

}  // namespace tnl::command
