// The public door: checks once more, then the reference here or a kernel of the backend.
#include "tnl/attention.h"

#include <cstdint>

#include <fmt/format.h>

#include "attention/checks.h"
#include "attention/lower.h"
#include "attention/plan.h"
#include "attention/reference.h"
#include "backend/backend.h"
#include "core/try.h"

namespace tnl {
namespace {

// A plan that was made for these arguments and this device passes; one made for others may not.
Status check_plan(std::span<const AttentionProblem> problems, const AttentionPlan& plan,
                  bool backward, const void* workspace, const DeviceProperties& device) {
  if (plan.backward != backward) {
    return invalid_argument(fmt::format("plan: found one for the {} pass, expected the {} pass",
                                        plan.backward ? "backward" : "forward",
                                        backward ? "backward" : "forward"));
  }
  if (plan.kernel.empty() || plan.chunk <= 0 || plan.value_slice <= 0) {
    return invalid_argument("plan: found an empty one, expected what plan_attention() returned");
  }
  TNL_TRY(attention::choose_kernel(plan.kernel, problems.front().dtype, device).status());
  std::size_t needed = 0;
  for (const AttentionProblem& problem : problems) {
    needed = std::max(needed, attention::workspace_of(plan, problem, device.threads));
  }
  if (needed > plan.workspace_bytes) {
    return invalid_argument(
        fmt::format("plan: found {} bytes of workspace, expected {}: it was made for other "
                    "arguments or another "
                    "device",
                    plan.workspace_bytes, needed));
  }
  if (needed > 0 &&
      (workspace == nullptr || reinterpret_cast<std::uintptr_t>(workspace) % 64 != 0)) {
    return invalid_argument(
        fmt::format("workspace: found {}, expected {} bytes aligned to 64", workspace, needed));
  }
  return {};
}

Status solve(std::span<const AttentionProblem> problems, const AttentionPlan& plan, void* workspace,
             const Device& device) {
  for (const AttentionProblem& problem : problems) {
    if (plan.kernel == "reference-recurrent") {
      attention::run_recurrent(problem, workspace);
    } else if (plan.kernel == "reference-chunked") {
      attention::run_chunked(problem, plan.chunk, workspace);
    } else {
      TNL_TRY(device.backend().attention(problem, plan.kernel, plan.chunk,
                                         attention::slice_of(plan, problem), workspace));
    }
  }
  return {};
}

}  // namespace

Status attention_forward(const AttentionArgs& args, const AttentionPlan& plan, void* workspace,
                         const Device& device) {
  TNL_TRY(attention::check_arguments(args));
  const AttentionProblem problem = attention::lower_forward(args);
  TNL_TRY(check_plan({&problem, 1}, plan, false, workspace, device.properties()));
  return solve({&problem, 1}, plan, workspace, device);
}

Status attention_backward(const AttentionArgs& args, const AttentionGradients& gradients,
                          const AttentionPlan& plan, void* workspace, const Device& device) {
  TNL_TRY(attention::check_backward_arguments(args, gradients));
  const auto problems = attention::lower_backward(args, gradients);
  TNL_TRY(check_plan(problems, plan, true, workspace, device.properties()));
  return solve(problems, plan, workspace, device);
}

Status attention_step(const AttentionStepArgs& args, const Device& device,
                      const std::string& kernel) {
  TNL_TRY(attention::check_step(args));
  TNL_ASSIGN(const std::string chosen,
             attention::choose_kernel(kernel, args.q.dtype, device.properties()));
  const AttentionProblem problem = attention::lower_step(args);
  if (attention::is_reference_kernel(chosen)) {
    attention::run_step(problem, args.state_slots);
    return {};
  }
  return device.backend().attention_step(problem, args.state_slots, chosen);
}

}  // namespace tnl
