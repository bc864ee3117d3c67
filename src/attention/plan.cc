#include "attention/plan.h"

#include <algorithm>
#include <array>
#include <string_view>

#include <fmt/format.h>

#include "attention/checks.h"
#include "attention/lower.h"
#include "attention/reference.h"
#include "backend/cpu/attention.h"
#include "core/try.h"

namespace tnl {
namespace attention {
namespace {

constexpr std::string_view kRecurrent = "reference-recurrent";
constexpr std::string_view kChunked = "reference-chunked";
// Narrowest first: a device of one target runs every kernel up to it.
constexpr std::array<std::string_view, 3> kTargets = {"generic", "avx2", "avx512"};
constexpr std::int64_t kMostChunk = 4096;
constexpr std::int64_t kDefaultChunk = 16;  // docs/kernels/attention_cpu.md
constexpr std::int64_t kReferenceChunk = 16;

std::ptrdiff_t rank_of(std::string_view target) {
  return std::find(kTargets.begin(), kTargets.end(), target) - kTargets.begin();
}

struct Load {
  double total = 0;    // tokens of all sequences
  double longest = 0;  // of one
};

Load load_of(const AttentionProblem& problem) {
  Load load;
  for (std::int64_t n = 0; n < problem.sequences; ++n) {
    const double length = static_cast<double>(problem.length(n));
    load.total += length;
    load.longest = std::max(load.longest, length);
    if (problem.cu_seqlens.empty()) {
      load.total = length * static_cast<double>(problem.sequences);
      break;
    }
  }
  return load;
}

// Time until the last thread is done, in multiply-adds, with V cut into slices. Every slice does
// the scores and the packing of q and k again.
double finish_time(const AttentionProblem& problem, const Load& load, std::int64_t slice,
                   std::int64_t chunk, int threads) {
  const double keys = static_cast<double>(problem.key_dim);
  const double columns = static_cast<double>(slice);
  const double per_token = 2 * keys * columns + 0.625 * static_cast<double>(chunk) * columns +
                           0.75 * static_cast<double>(chunk) * keys + 32 * keys;
  const std::int64_t slices = (problem.value_dim + slice - 1) / slice;
  const double tasks_a_sequence = static_cast<double>(problem.heads * slices);
  if (problem.cu_seqlens.empty()) {
    const std::int64_t tasks = problem.sequences * problem.heads * slices;
    return per_token * load.longest * static_cast<double>((tasks + threads - 1) / threads);
  }
  return per_token * std::max(load.longest, load.total * tasks_a_sequence / threads);
}

std::int64_t choose_slice(const AttentionProblem& problem, const std::string& kernel,
                          std::int64_t chunk, int threads) {
  const std::int64_t panel = cpu::attention_panel(kernel);
  const Load load = load_of(problem);
  std::int64_t best = problem.value_dim;
  double best_time = finish_time(problem, load, best, chunk, threads);
  for (std::int64_t slices = 2; slices <= threads; ++slices) {
    const std::int64_t even = (problem.value_dim + slices - 1) / slices;
    const std::int64_t slice = (even + panel - 1) / panel * panel;
    if (slice >= best) continue;
    const double time = finish_time(problem, load, slice, chunk, threads);
    if (time < best_time) {
      best = slice;
      best_time = time;
    }
  }
  return best;
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

std::int64_t tasks_of(const AttentionPlan& plan, const AttentionProblem& problem) {
  const std::int64_t slice = slice_of(plan, problem);
  return problem.sequences * problem.heads * ((problem.value_dim + slice - 1) / slice);
}

}  // namespace

bool is_reference_kernel(const std::string& kernel) {
  return kernel == kRecurrent || kernel == kChunked;
}

Result<std::string> choose_kernel(const std::string& wanted, DType dtype,
                                  const DeviceProperties& device) {
  const bool known =
      wanted.empty() || is_reference_kernel(wanted) || rank_of(wanted) < std::ssize(kTargets);
  if (!known) {
    return invalid_argument(
        fmt::format("kernel: found '{}', expected avx512, avx2, generic, reference-recurrent or "
                    "reference-chunked",
                    wanted));
  }
  if (dtype == DType::kF64) {
    if (wanted.empty()) return std::string(kRecurrent);
    if (is_reference_kernel(wanted)) return wanted;
    return invalid_argument(fmt::format(
        "kernel: found {} for f64, expected reference-recurrent or reference-chunked", wanted));
  }
  if (is_reference_kernel(wanted)) {
    return invalid_argument(
        fmt::format("kernel: found {} for {}, expected f64 data", wanted, dtype_name(dtype)));
  }
  if (device.kind == DeviceKind::kReference) {
    return invalid_argument(
        fmt::format("q: found {}, expected f64 on the device 'reference'", dtype_name(dtype)));
  }
  const std::string kernel = wanted.empty() ? device.cpu_target : wanted;
  if (rank_of(kernel) > rank_of(device.cpu_target)) {
    return invalid_argument(fmt::format(
        "kernel: found {}, expected at most {}, the device's target", kernel, device.cpu_target));
  }
  if (cpu::attention_panel(kernel) == 0) {
    return unavailable(fmt::format("kernel: found {}, which this build lacks", kernel));
  }
  return kernel;
}

std::int64_t slice_of(const AttentionPlan& plan, const AttentionProblem& problem) {
  return std::min(plan.value_slice, problem.value_dim);
}

std::size_t workspace_of(const AttentionPlan& plan, const AttentionProblem& problem, int threads) {
  if (plan.kernel == kRecurrent) return recurrent_workspace(problem.key_dim);
  if (plan.kernel == kChunked) return chunked_workspace(problem.key_dim, problem.value_dim);
  return cpu::attention_workspace(plan.kernel, problem.heads, problem.key_dim,
                                  slice_of(plan, problem), plan.chunk, threads);
}

Result<AttentionPlan> make_plan(std::span<const AttentionProblem> problems,
                                const DeviceProperties& device,
                                const AttentionPlanOptions& options) {
  TNL_TRY(check_options(options));
  AttentionPlan plan;
  TNL_ASSIGN(plan.kernel, choose_kernel(options.kernel, problems.front().dtype, device));
  const bool reference = is_reference_kernel(plan.kernel);
  plan.chunk = plan.kernel == kRecurrent ? 1
               : options.chunk > 0       ? options.chunk
               : reference               ? kReferenceChunk
                                         : kDefaultChunk;
  plan.value_slice = reference ? 0 : options.value_slice;
  for (const AttentionProblem& problem : problems) {
    if (reference) plan.value_slice = std::max(plan.value_slice, problem.value_dim);
    if (!reference && options.value_slice == 0) {
      plan.value_slice = std::max(plan.value_slice,
                                  choose_slice(problem, plan.kernel, plan.chunk, device.threads));
    }
  }
  for (const AttentionProblem& problem : problems) {
    plan.tasks += tasks_of(plan, problem);
    plan.workspace_bytes =
        std::max(plan.workspace_bytes, workspace_of(plan, problem, device.threads));
  }
  return plan;
}

}  // namespace attention

std::string AttentionPlan::describe() const {
  return fmt::format("{}: kernel {}, chunk {}, value slice {}, {} tasks, workspace {:.1f} KiB",
                     backward ? "backward" : "forward", kernel, chunk, value_slice, tasks,
                     static_cast<double>(workspace_bytes) / 1024);
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
