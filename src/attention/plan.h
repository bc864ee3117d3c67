// Which kernel solves a problem, in which pieces, with how much workspace.
#pragma once

#include <span>

#include "backend/attention_problem.h"
#include "tnl/attention.h"

namespace tnl::attention {

bool is_reference_kernel(const std::string& kernel);

// The kernel for data of `dtype`, or a sentence that says why `wanted` cannot be it.
Result<std::string> choose_kernel(const std::string& wanted, DType dtype,
                                  const DeviceProperties& device);

// One plan for problems that are solved one after the other in the same workspace.
Result<AttentionPlan> make_plan(std::span<const AttentionProblem> problems,
                                const DeviceProperties& device,
                                const AttentionPlanOptions& options);

// Columns of V a task of this problem owns under that plan.
std::int64_t slice_of(const AttentionPlan& plan, const AttentionProblem& problem);

std::size_t workspace_of(const AttentionPlan& plan, const AttentionProblem& problem, int threads);

}  // namespace tnl::attention
