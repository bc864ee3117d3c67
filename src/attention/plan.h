// One plan for one call of the operator: the reference's here, a device's by its planner.
#pragma once

#include <span>
#include <string>

#include "backend/attention_problem.h"
#include "tnl/attention.h"

namespace tnl::attention {

bool is_reference_kernel(const std::string& kernel);

// One plan for all problems of a call.
Result<AttentionPlan> make_plan(std::span<const AttentionProblem> problems,
                                const DeviceProperties& device,
                                const AttentionPlanOptions& options);

// A plan that was made for these problems and this device passes; one made for others may not.
Status check_plan(std::span<const AttentionProblem> problems, const AttentionPlan& plan,
                  const DeviceProperties& device);

// The kernel of a step, or a sentence that says why `wanted` cannot be it.
Result<std::string> choose_step_kernel(const std::string& wanted, const AttentionProblem& problem,
                                       const DeviceProperties& device);

}  // namespace tnl::attention
