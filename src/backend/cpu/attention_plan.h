// Which CPU target solves a problem, in which slices of V and segments of time. The planner's door
// is backend/attention_planner.h.
#pragma once

#include <cstdint>

#include "backend/attention_problem.h"
#include "backend/cpu/attention.h"
#include "tnl/attention_plan.h"

namespace tnl::cpu {

// How this problem is cut under that plan. The three problems of a backward pass differ in V, so
// each has its own slices.
Cut cut_of(const AttentionPlan& plan, const AttentionProblem& problem);

}  // namespace tnl::cpu
