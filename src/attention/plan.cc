#include "attention/plan.h"

#include <algorithm>
#include <string_view>

#include <fmt/format.h>

#include "attention/checks.h"
#include "attention/lower.h"
#include "attention/reference.h"
#include "backend/attention_planner.h"
#include "core/try.h"

namespace tnl {
namespace attention {
namespace {

constexpr std::string_view kRecurrent = "reference-recurrent";
constexpr std::string_view kChunked = "reference-chunked";
constexpr std::int64_t kMostChunk = 4096;
constexpr std::int64_t kReferenceChunk = 16;

bool is_known_elsewhere(std::string_view kernel) {
  return kernel == "avx512" || kernel == "avx2" || kernel == "generic";
}

// f64 runs here, on the CPU and the reference device; everything else on the device's own kernels.
Result<bool> runs_reference(const std::string& wanted, DType dtype,
                            const DeviceProperties& device) {
  if (device.kind == DeviceKind::kCuda) {
    if (dtype != DType::kF64) return false;
    return invalid_argument(
        fmt::format("q: found f64, expected f32, bf16 or f16 on the device '{}'", device.name));
  }
  const bool reference = is_reference_kernel(wanted);
  if (dtype == DType::kF64) {
    if (wanted.empty() || reference) return true;
    if (!is_known_elsewhere(wanted)) return false;  // the CPU's planner says what is known
    return invalid_argument(fmt::format(
        "kernel: found {} for f64, expected reference-recurrent or reference-chunked", wanted));
  }
  if (reference) {
    return invalid_argument(
        fmt::format("kernel: found {} for {}, expected f64 data", wanted, dtype_name(dtype)));
  }
  if (device.kind == DeviceKind::kReference) {
    return invalid_argument(
        fmt::format("q: found {}, expected f64 on the device 'reference'", dtype_name(dtype)));
  }
  return false;
}

std::size_t reference_workspace(const AttentionPlan& plan, const AttentionProblem& problem) {
  if (plan.kernel == kRecurrent) return recurrent_workspace(problem.key_dim);
  return chunked_workspace(problem.key_dim, problem.value_dim);
}

AttentionPlan reference_plan(std::span<const AttentionProblem> problems,
                             const AttentionPlanOptions& options) {
  AttentionPlan plan;
  plan.kernel = options.kernel.empty() ? kRecurrent : std::string_view(options.kernel);
  plan.chunk = plan.kernel == kRecurrent ? 1 : options.chunk > 0 ? options.chunk : kReferenceChunk;
  for (const AttentionProblem& problem : problems) {
    plan.value_slice = std::max(plan.value_slice, problem.value_dim);
    plan.tasks += problem.sequences * problem.heads;
    plan.workspace_bytes = std::max(plan.workspace_bytes, reference_workspace(plan, problem));
  }
  return plan;
}

Status check_options(const AttentionPlanOptions& options) {
  if (options.chunk < 0 || options.chunk > kMostChunk) {
    return invalid_argument(fmt::format("options.chunk: found {}, expected 0 (chosen) to {}",
                                        options.chunk, kMostChunk));
  }
  if (options.value_slice < 0) {
    return invalid_argument(fmt::format(
        "options.value_slice: found {}, expected 0 (chosen) or more", options.value_slice));
  }
  return {};
}

Status check_reference_plan(std::span<const AttentionProblem> problems, const AttentionPlan& plan) {
  for (const AttentionProblem& problem : problems) {
    const std::size_t needed = reference_workspace(plan, problem);
    if (needed <= plan.workspace_bytes) continue;
    return invalid_argument(
        fmt::format("plan: found {} bytes of workspace, expected {}: it was made for other "
                    "arguments or another device",
                    plan.workspace_bytes, needed));
  }
  return {};
}

}  // namespace

bool is_reference_kernel(const std::string& kernel) {
  return kernel == kRecurrent || kernel == kChunked;
}

Result<AttentionPlan> make_plan(std::span<const AttentionProblem> problems,
                                const DeviceProperties& device,
                                const AttentionPlanOptions& options) {
  TNL_TRY(check_options(options));
  TNL_ASSIGN(const bool reference, runs_reference(options.kernel, problems.front().dtype, device));
  if (reference) return reference_plan(problems, options);
  if (device.kind == DeviceKind::kCuda) return cuda::plan_attention(problems, device, options);
  return cpu::plan_attention(problems, device, options);
}

Status check_plan(std::span<const AttentionProblem> problems, const AttentionPlan& plan,
                  const DeviceProperties& device) {
  if (plan.kernel.empty() || plan.chunk <= 0 || plan.value_slice <= 0) {
    return invalid_argument("plan: found an empty one, expected what plan_attention() returned");
  }
  const bool for_gpu = plan.details != nullptr;
  if (for_gpu != (device.kind == DeviceKind::kCuda)) {
    return invalid_argument(fmt::format("plan: found one for {}, expected one for the device '{}'",
                                        for_gpu ? "a GPU" : "the CPU", device.name));
  }
  TNL_ASSIGN(const bool reference, runs_reference(plan.kernel, problems.front().dtype, device));
  if (reference) return check_reference_plan(problems, plan);
  return for_gpu ? cuda::check_plan(problems, plan, device)
                 : cpu::check_plan(problems, plan, device);
}

Result<std::string> choose_step_kernel(const std::string& wanted, const AttentionProblem& problem,
                                       const DeviceProperties& device) {
  TNL_ASSIGN(const bool reference, runs_reference(wanted, problem.dtype, device));
  if (reference) return wanted.empty() ? std::string(kRecurrent) : wanted;
  if (device.kind == DeviceKind::kCuda) return cuda::choose_step_kernel(wanted, problem);
  return cpu::choose_step_kernel(wanted, device);
}

}  // namespace attention

std::string AttentionPlan::describe() const {
  const double kib = static_cast<double>(workspace_bytes) / 1024;
  const char* pass = backward ? "backward" : "forward";
  if (details != nullptr) {
    return fmt::format("{}: {}, workspace {:.1f} KiB", pass, details->describe(), kib);
  }
  const std::string cut = segments > 1 ? fmt::format(", {} segments", segments) : "";
  return fmt::format("{}: kernel {}, chunk {}, value slice {}{}, {} tasks, workspace {:.1f} KiB",
                     pass, kernel, chunk, value_slice, cut, tasks, kib);
}

Result<AttentionPlan> plan_attention(const AttentionArgs& args, const DeviceProperties& device,
                                     const AttentionPlanOptions& options) {
  TNL_TRY(attention::check_arguments(args));
  const AttentionProblem problem = attention::lower_forward(args);
  return attention::make_plan({&problem, 1}, device, options);
}

Result<AttentionPlan> plan_attention_backward(const AttentionArgs& args,
                                              const AttentionGradients& gradients,
                                              const DeviceProperties& device,
                                              const AttentionPlanOptions& options) {
  TNL_TRY(attention::check_backward_arguments(args, gradients));
  const auto problems = attention::lower_backward(args, gradients);
  TNL_ASSIGN(AttentionPlan plan, attention::make_plan(problems, device, options));
  plan.backward = true;
  return plan;
}

}  // namespace tnl
