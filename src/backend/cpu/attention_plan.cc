#include "backend/cpu/attention_plan.h"

#include <algorithm>
#include <array>
#include <string_view>

#include <fmt/format.h>

#include "backend/attention_planner.h"
#include "backend/cpu/attention.h"
#include "core/try.h"

namespace tnl::cpu {
namespace {

// Narrowest first: a device of one target runs every kernel up to it.
constexpr std::array<std::string_view, 3> kTargets = {"generic", "avx2", "avx512"};
constexpr std::int64_t kDefaultChunk = 16;  // docs/kernels/attention_cpu.md

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
  const std::int64_t panel = attention_panel(kernel);
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

Result<std::string> choose_kernel(const std::string& wanted, const DeviceProperties& device) {
  if (!wanted.empty() && rank_of(wanted) == std::ssize(kTargets)) {
    return invalid_argument(
        fmt::format("kernel: found '{}', expected avx512, avx2, generic, reference-recurrent or "
                    "reference-chunked",
                    wanted));
  }
  const std::string kernel = wanted.empty() ? device.cpu_target : wanted;
  if (rank_of(kernel) > rank_of(device.cpu_target)) {
    return invalid_argument(fmt::format(
        "kernel: found {}, expected at most {}, the device's target", kernel, device.cpu_target));
  }
  if (attention_panel(kernel) == 0) {
    return unavailable(fmt::format("kernel: found {}, which this build lacks", kernel));
  }
  return kernel;
}

std::size_t workspace_of(const AttentionPlan& plan, const AttentionProblem& problem, int threads) {
  return attention_workspace(plan.kernel, problem.heads, problem.key_dim, slice_of(plan, problem),
                             plan.chunk, threads);
}

}  // namespace

std::int64_t slice_of(const AttentionPlan& plan, const AttentionProblem& problem) {
  return std::min(plan.value_slice, problem.value_dim);
}

Result<std::string> choose_step_kernel(const std::string& wanted, const DeviceProperties& device) {
  return choose_kernel(wanted, device);
}

Result<AttentionPlan> plan_attention(std::span<const AttentionProblem> problems,
                                     const DeviceProperties& device,
                                     const AttentionPlanOptions& options) {
  AttentionPlan plan;
  TNL_ASSIGN(plan.kernel, choose_kernel(options.kernel, device));
  plan.chunk = options.chunk > 0 ? options.chunk : kDefaultChunk;
  plan.value_slice = options.value_slice;
  if (options.value_slice == 0) {
    for (const AttentionProblem& problem : problems) {
      plan.value_slice = std::max(plan.value_slice,
                                  choose_slice(problem, plan.kernel, plan.chunk, device.threads));
    }
  }
  for (const AttentionProblem& problem : problems) {
    const std::int64_t slice = slice_of(plan, problem);
    plan.tasks += problem.sequences * problem.heads * ((problem.value_dim + slice - 1) / slice);
    plan.workspace_bytes =
        std::max(plan.workspace_bytes, workspace_of(plan, problem, device.threads));
  }
  return plan;
}

Status check_plan(std::span<const AttentionProblem> problems, const AttentionPlan& plan,
                  const DeviceProperties& device) {
  TNL_TRY(choose_kernel(plan.kernel, device).status());
  std::size_t needed = 0;
  for (const AttentionProblem& problem : problems) {
    needed = std::max(needed, workspace_of(plan, problem, device.threads));
  }
  if (needed <= plan.workspace_bytes) return {};
  return invalid_argument(
      fmt::format("plan: found {} bytes of workspace, expected {}: it was made for other arguments "
                  "or another device",
                  plan.workspace_bytes, needed));
}

}  // namespace tnl::cpu
