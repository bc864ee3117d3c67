// Which CPU target solves a problem and in which slices of V. The planner's door is
// backend/attention_planner.h.
#pragma once

#include <cstdint>

#include "backend/attention_problem.h"
#include "tnl/attention_plan.h"

namespace tnl::cpu {

// Columns of V a task of this problem owns under that plan. The three problems of a backward pass
// differ in V, so each has its own.
std::int64_t slice_of(const AttentionPlan& plan, const AttentionProblem& problem);

}  // namespace tnl::cpu
