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

// GPUs want more than a cache line: their tables are read in whole sectors.
constexpr std::uintptr_t kHostAlignment = 64, kGpuAlignment = 256;

Status check_workspace(const AttentionPlan& plan, const void* workspace,
                       const DeviceProperties& device) {
  const std::uintptr_t alignment =
      device.kind == DeviceKind::kCuda ? kGpuAlignment : kHostAlignment;
  if (plan.workspace_bytes == 0 ||
      (workspace != nullptr && reinterpret_cast<std::uintptr_t>(workspace) % alignment == 0)) {
    return {};
  }
  return invalid_argument(fmt::format("workspace: found {}, expected {} bytes aligned to {}",
                                      workspace, plan.workspace_bytes, alignment));
}

Status solve(std::span<const AttentionProblem> problems, const AttentionPlan& plan, bool backward,
             void* workspace, const Device& device, Stream stream) {
  if (plan.backward != backward) {
    return invalid_argument(fmt::format("plan: found one for the {} pass, expected the {} pass",
                                        plan.backward ? "backward" : "forward",
                                        backward ? "backward" : "forward"));
  }
  TNL_TRY(attention::check_plan(problems, plan, device.properties()));
  TNL_TRY(check_workspace(plan, workspace, device.properties()));
  if (!attention::is_reference_kernel(plan.kernel)) {
    return device.backend().attention(problems, plan, workspace, stream);
  }
  for (const AttentionProblem& problem : problems) {
    if (plan.kernel == "reference-recurrent") {
      attention::run_recurrent(problem, workspace);
    } else {
      attention::run_chunked(problem, plan.chunk, workspace);
    }
  }
  return {};
}

}  // namespace

Status attention_forward(const AttentionArgs& args, const AttentionPlan& plan, void* workspace,
                         const Device& device, Stream stream) {
  TNL_TRY(attention::check_arguments(args));
  const AttentionProblem problem = attention::lower_forward(args);
  return solve({&problem, 1}, plan, false, workspace, device, stream);
}

Status attention_backward(const AttentionArgs& args, const AttentionGradients& gradients,
                          const AttentionPlan& plan, void* workspace, const Device& device,
                          Stream stream) {
  TNL_TRY(attention::check_backward_arguments(args, gradients));
  const auto problems = attention::lower_backward(args, gradients);
  return solve(problems, plan, true, workspace, device, stream);
}

Status attention_step(const AttentionStepArgs& args, const Device& device,
                      const std::string& kernel, Stream stream) {
  TNL_TRY(attention::check_step(args));
  if (device.properties().kind != DeviceKind::kCuda) TNL_TRY(attention::check_step_values(args));
  const AttentionProblem problem = attention::lower_step(args);
  const AttentionStep step = attention::lower_step_options(args);
  TNL_ASSIGN(const std::string chosen,
             attention::choose_step_kernel(kernel, problem, device.properties()));
  if (attention::is_reference_kernel(chosen)) {
    attention::run_step(problem, step);
    return {};
  }
  return device.backend().attention_step(problem, step, chosen, stream);
}

}  // namespace tnl
