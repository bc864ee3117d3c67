// The planners of the backends: pure functions in the main library, so that a plan for any device
// can be made, printed and tested on any machine. fp64 has its kernels and plans in src/attention.
#pragma once

#include <span>
#include <string>

#include "backend/attention_problem.h"
#include "tnl/attention_plan.h"
#include "tnl/device.h"
#include "tnl/status.h"

namespace tnl {
namespace cpu {

// One plan for problems that are solved one after the other in the same workspace.
Result<AttentionPlan> plan_attention(std::span<const AttentionProblem> problems,
                                     const DeviceProperties& device,
                                     const AttentionPlanOptions& options);

// Ok where `plan` is one for these problems on this device, else a sentence that says what is not.
Status check_plan(std::span<const AttentionProblem> problems, const AttentionPlan& plan,
                  const DeviceProperties& device);

// The kernel of a step, or a sentence that says why `wanted` cannot be it.
Result<std::string> choose_step_kernel(const std::string& wanted, const DeviceProperties& device);

}  // namespace cpu

// As above for a GPU. Here a plan depends on strides, decays and cu_seqlens too.
namespace cuda {

Result<AttentionPlan> plan_attention(std::span<const AttentionProblem> problems,
                                     const DeviceProperties& device,
                                     const AttentionPlanOptions& options);
Status check_plan(std::span<const AttentionProblem> problems, const AttentionPlan& plan,
                  const DeviceProperties& device);
Result<std::string> choose_step_kernel(const std::string& wanted, const AttentionProblem& problem);

}  // namespace cuda
}  // namespace tnl
