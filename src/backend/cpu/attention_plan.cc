#include "backend/cpu/attention_plan.h"

#include <algorithm>
#include <array>
#include <string_view>

#include <fmt/format.h>

#include "backend/attention_planner.h"
#include "backend/cpu/attention.h"
#include "backend/decay.h"
#include "core/try.h"

namespace tnl::cpu {
namespace {

// Narrowest first: a device of one target runs every kernel up to it.
constexpr std::array<std::string_view, 3> kTargets = {"generic", "avx2", "avx512"};
constexpr std::int64_t kDefaultChunk = 16;  // docs/kernels/attention_cpu.md

std::ptrdiff_t rank_of(std::string_view target) {
  return std::find(kTargets.begin(), kTargets.end(), target) - kTargets.begin();
}

constexpr std::int64_t kMostSegments = 1 << 20;
// Segments shorter than this are not worth the passes that find their states.
constexpr std::int64_t kLeastSegment = 1024;
// Gain below which a sequence stays whole: fewer pieces, and one rounding less.
constexpr double kLeastGain = 0.85;

std::int64_t longest_of(const AttentionProblem& problem) {
  if (problem.cu_seqlens.empty()) return problem.tokens;
  std::int64_t longest = 0;
  for (std::int64_t n = 0; n < problem.sequences; ++n) {
    longest = std::max(longest, problem.length(n));
  }
  return longest;
}

// Time until the last of `threads` is done, in multiply-adds of one core.
class CostModel {
 public:
  CostModel(const AttentionProblem& problem, int threads) : problem_(problem), threads_(threads) {
    longest_ = longest_of(problem);
    total_ = problem.cu_seqlens.empty() ? problem.tokens * problem.sequences
                                        : problem.cu_seqlens[problem.sequences];
  }

  // Every slice does the scores and the packing of q and k again.
  double time(const Cut& cut) const {
    const auto keys = static_cast<double>(problem_.key_dim);
    const auto columns = static_cast<double>(cut.value_slice);
    const auto chunk = static_cast<double>(cut.chunk);
    const double per_token =
        2 * keys * columns + 0.625 * chunk * columns + 0.75 * chunk * keys + 32 * keys;
    const std::int64_t slices = (problem_.value_dim + cut.value_slice - 1) / cut.value_slice;
    const double main = finish(per_token, cut, problem_.heads * slices);
    if (cut.segments == 1) return main;
    return main + states(keys * columns + 16 * keys + 8 * columns, cut, slices);
  }

 private:
  double finish(double per_token, const Cut& cut, std::int64_t rows) const {
    const std::int64_t segment = cut.segments == 1 ? longest_ : segment_tokens(longest_, cut);
    if (!problem_.cu_seqlens.empty()) {
      const double share = static_cast<double>(total_ * rows) / threads_;
      return per_token * std::max(static_cast<double>(segment), share);
    }
    const std::int64_t tasks = problem_.sequences * rows * cut.segments;
    return per_token * static_cast<double>((tasks + threads_ - 1) / threads_ * segment);
  }

  // The passes that find the states: a segment each, or the part of it that is not forgotten.
  double states(double per_token, const Cut& cut, std::int64_t slices) const {
    const auto segment = static_cast<double>(segment_tokens(longest_, cut));
    double tokens = 0;
    for (std::int64_t h = 0; h < problem_.heads; ++h) {
      tokens += std::min(segment, horizon_tokens(problem_.log_decay[h]));
    }
    tokens *= static_cast<double>(problem_.sequences * slices * (cut.segments - 1));
    return per_token * std::max(tokens / threads_, std::min(tokens, segment));
  }

  const AttentionProblem& problem_;
  int threads_;
  std::int64_t longest_ = 0, total_ = 0;
};

std::int64_t choose_slice(const AttentionProblem& problem, const Cut& cut, std::int64_t panel,
                          int threads) {
  const CostModel cost(problem, threads);
  std::int64_t best = problem.value_dim;
  double best_time = cost.time({cut.chunk, best, cut.segments});
  for (std::int64_t slices = 2; slices <= threads; ++slices) {
    const std::int64_t even = (problem.value_dim + slices - 1) / slices;
    const std::int64_t slice = (even + panel - 1) / panel * panel;
    if (slice >= best) continue;
    const double time = cost.time({cut.chunk, slice, cut.segments});
    if (time < best_time) {
      best = slice;
      best_time = time;
    }
  }
  return best;
}

// One number for all problems of a call. Slices come first: they cost less where they suffice.
std::int64_t choose_segments(std::span<const AttentionProblem> problems, std::int64_t chunk,
                             std::int64_t panel, std::int64_t forced_slice, int threads) {
  const auto time = [&](std::int64_t segments) {
    double sum = 0;
    for (const AttentionProblem& problem : problems) {
      Cut cut{chunk, std::min(forced_slice, problem.value_dim), segments};
      if (forced_slice == 0) cut.value_slice = choose_slice(problem, cut, panel, threads);
      sum += CostModel(problem, threads).time(cut);
    }
    return sum;
  };
  const std::int64_t most = longest_of(problems.front()) / kLeastSegment;
  std::int64_t best = 1;
  double best_time = threads > 1 && most > 1 ? kLeastGain * time(1) : 0;
  for (std::int64_t segments = 2; segments <= std::min<std::int64_t>(most, 4 * threads);
       ++segments) {
    const double now = time(segments);
    if (now < best_time) {
      best = segments;
      best_time = now;
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
  return attention_workspace(plan.kernel, problem, cut_of(plan, problem), threads);
}

}  // namespace

Cut cut_of(const AttentionPlan& plan, const AttentionProblem& problem) {
  return {plan.chunk, std::min(plan.value_slice, problem.value_dim), plan.segments};
}

Result<std::string> choose_step_kernel(const std::string& wanted, const DeviceProperties& device) {
  return choose_kernel(wanted, device);
}

Result<AttentionPlan> plan_attention(std::span<const AttentionProblem> problems,
                                     const DeviceProperties& device,
                                     const AttentionPlanOptions& options) {
  if (options.runs < 0 || options.runs > kMostSegments) {
    return invalid_argument(fmt::format("options.runs: found {}, expected 0 (chosen) to {}",
                                        options.runs, kMostSegments));
  }
  AttentionPlan plan;
  TNL_ASSIGN(plan.kernel, choose_kernel(options.kernel, device));
  plan.chunk = options.chunk > 0 ? options.chunk : kDefaultChunk;
  const std::int64_t panel = attention_panel(plan.kernel);
  plan.segments = options.runs;
  if (plan.segments == 0) {
    plan.segments = options.batch_invariant ? 1
                                            : choose_segments(problems, plan.chunk, panel,
                                                              options.value_slice, device.threads);
  }
  plan.value_slice = options.value_slice;
  if (options.value_slice == 0) {
    for (const AttentionProblem& problem : problems) {
      plan.value_slice =
          std::max(plan.value_slice,
                   choose_slice(problem, {plan.chunk, 0, plan.segments}, panel, device.threads));
    }
  }
  for (const AttentionProblem& problem : problems) {
    const Cut cut = cut_of(plan, problem);
    const std::int64_t heads = heads_of_task(problem, cut, device.threads);
    plan.tasks += problem.sequences * ((problem.heads + heads - 1) / heads) * plan.segments *
                  ((problem.value_dim + cut.value_slice - 1) / cut.value_slice);
    plan.workspace_bytes =
        std::max(plan.workspace_bytes, workspace_of(plan, problem, device.threads));
  }
  return plan;
}

Status check_plan(std::span<const AttentionProblem> problems, const AttentionPlan& plan,
                  const DeviceProperties& device) {
  TNL_TRY(choose_kernel(plan.kernel, device).status());
  if (plan.segments < 1) {
    return invalid_argument("plan: found no segments, expected what plan_attention() returned");
  }
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
