// Cutting sequences into runs: what each way costs by a model of the device, and the work items.
#pragma once

#include "backend/cuda/plan.h"

namespace tnl::cuda {

// Fills in launch.main and, for a segmented plan, the rest, from launch.kernel and launch.calls.
Status choose_segments(std::span<const AttentionProblem> problems, const DeviceLimits& limits,
                       const PlanOptions& options, LaunchPlan& launch);

// Bytes of the launch's tables, and of them and its states, at multiples of 256.
std::size_t table_bytes(const LaunchPlan& launch, std::int64_t heads);
std::size_t launch_workspace(const LaunchPlan& launch, std::int64_t heads);

}  // namespace tnl::cuda
