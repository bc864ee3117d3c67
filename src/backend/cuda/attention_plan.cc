#include "backend/cuda/attention_plan.h"

#include <algorithm>

#include <fmt/format.h>

#include "backend/attention_planner.h"
#include "core/try.h"

namespace tnl::cuda {
namespace {

Result<PlanOptions> lower_options(const AttentionPlanOptions& options) {
  PlanOptions lowered;
  lowered.kernel = options.kernel;
  lowered.segments = options.segments;
  constexpr std::int64_t kMostRuns = 1 << 20;
  if (options.runs < 0 || options.runs > kMostRuns) {
    return invalid_argument(
        fmt::format("options.runs: found {}, expected 0 (chosen) to {}", options.runs, kMostRuns));
  }
  lowered.runs = static_cast<int>(options.runs);
  lowered.batch_invariant = options.batch_invariant;
  if (options.batch_invariant && (options.runs != 0 || !options.segments.empty())) {
    return invalid_argument(
        "options.batch_invariant: found together with segments or runs, expected one of the two");
  }
  if (options.precision == "fast") {
    lowered.split = Split::kNone;
  } else if (options.precision == "state") {
    lowered.split = Split::kState;
  } else if (options.precision == "precise") {
    lowered.split = Split::kAll;
  } else if (!options.precision.empty()) {
    return invalid_argument(fmt::format(
        "options.precision: found '{}', expected fast, state or precise", options.precision));
  }
  return lowered;
}

const LaunchPlan& launch_of(const Plan& plan, int problem) {
  for (const LaunchPlan& launch : plan.launches) {
    if (std::find(launch.calls.begin(), launch.calls.end(), problem) != launch.calls.end()) {
      return launch;
    }
  }
  return plan.launches.front();
}

// A block reads the columns of the incoming state that it writes at its end: only then may both be
// one memory.
bool must_keep_state(std::span<const AttentionProblem> problems, const Plan& plan, int reader) {
  const void* state = problems[reader].state_in.data;
  if (state == nullptr) return false;
  for (int writer = 0; writer < std::ssize(problems); ++writer) {
    if (problems[writer].state_out.data != state) continue;
    if (writer != reader || launch_of(plan, reader).segments != Segments::kPlain) return true;
  }
  return false;
}

// What the launches depend on, without anything that points.
AttentionProblem shape_of(const AttentionProblem& problem) {
  static char given;  // stands for any memory
  const auto mark = [](const void* data) -> void* { return data == nullptr ? nullptr : &given; };
  AttentionProblem shape;
  shape.dtype = problem.dtype;
  shape.sequences = problem.sequences;
  shape.heads = problem.heads;
  shape.key_dim = problem.key_dim;
  shape.value_dim = problem.value_dim;
  shape.tokens = problem.tokens;
  shape.reverse = problem.reverse;
  shape.state_in.data = mark(problem.state_in.data);
  shape.state_out.data = mark(problem.state_out.data);
  return shape;
}

bool same_shape(const AttentionProblem& a, const AttentionProblem& b) {
  return a.dtype == b.dtype && a.sequences == b.sequences && a.heads == b.heads &&
         a.key_dim == b.key_dim && a.value_dim == b.value_dim && a.tokens == b.tokens &&
         a.reverse == b.reverse && (a.state_in.data == nullptr) == (b.state_in.data == nullptr) &&
         (a.state_out.data == nullptr) == (b.state_out.data == nullptr);
}

Status made_for_others(const char* what) {
  return invalid_argument(
      fmt::format("plan: found one for other {}, expected one for these arguments", what));
}

}  // namespace

std::size_t state_bytes(const AttentionProblem& problem) {
  const auto bytes = static_cast<std::size_t>(problem.sequences * problem.heads * problem.key_dim *
                                              problem.value_dim) *
                     sizeof(float);
  return (bytes + 255) / 256 * 256;
}

DeviceLimits limits_of(const GpuProperties& gpu) {
  return {.capability = gpu.capability,
          .multiprocessors = gpu.multiprocessors,
          .shared_per_block = gpu.shared_per_block,
          .shared_per_multiprocessor = gpu.shared_per_multiprocessor,
          .bytes_per_second = gpu.bytes_per_second};
}

Result<AttentionPlan> plan_attention(std::span<const AttentionProblem> problems,
                                     const DeviceProperties& device,
                                     const AttentionPlanOptions& options) {
  TNL_ASSIGN(const PlanOptions lowered, lower_options(options));
  auto details = std::make_shared<PlanDetails>();
  TNL_ASSIGN(details->launches, plan_attention(problems, limits_of(device.gpu), lowered));
  AttentionPlan plan;
  plan.kernel = kernel_name(details->launches.launches.front().kernel);
  plan.chunk = kChunk;
  plan.value_slice = kTile;
  plan.workspace_bytes = details->launches.workspace_bytes;
  for (const LaunchPlan& launch : details->launches.launches) {
    plan.tasks += static_cast<std::int64_t>(launch.main.size()) * launch.blocks_per_item;
  }
  for (int i = 0; i < std::ssize(problems); ++i) {
    details->problems.push_back(shape_of(problems[i]));
    if (!must_keep_state(problems, details->launches, i)) continue;
    details->kept_states.push_back(i);
    plan.workspace_bytes += state_bytes(problems[i]);
  }
  const AttentionProblem& first = problems.front();
  details->log_decay.assign(first.log_decay, first.log_decay + first.heads);
  details->cu_seqlens.assign(first.cu_seqlens.begin(), first.cu_seqlens.end());
  plan.details = std::move(details);
  return plan;
}

Status check_plan(std::span<const AttentionProblem> problems, const AttentionPlan& plan,
                  const DeviceProperties& device) {
  const auto* details = dynamic_cast<const PlanDetails*>(plan.details.get());
  if (details == nullptr || details->problems.size() != problems.size()) {
    return made_for_others("problems");
  }
  const AttentionProblem& first = problems.front();
  for (int i = 0; i < std::ssize(problems); ++i) {
    if (!same_shape(problems[i], details->problems[i])) return made_for_others("shapes or states");
    if (!kernel_takes(launch_of(details->launches, i).kernel, problems[i], limits_of(device.gpu))) {
      return made_for_others("strides or alignments");
    }
    const std::vector<int>& kept = details->kept_states;
    if (must_keep_state(problems, details->launches, i) &&
        std::find(kept.begin(), kept.end(), i) == kept.end()) {
      return made_for_others("states: here some are both read and written");
    }
  }
  if (!std::equal(details->log_decay.begin(), details->log_decay.end(), first.log_decay,
                  first.log_decay + first.heads)) {
    return made_for_others("decays");
  }
  if (!std::equal(details->cu_seqlens.begin(), details->cu_seqlens.end(), first.cu_seqlens.begin(),
                  first.cu_seqlens.end())) {
    return made_for_others("cu_seqlens");
  }
  return {};
}

Result<std::string> choose_step_kernel(const std::string& wanted, const AttentionProblem& problem) {
  if (!wanted.empty() && wanted != "step" && wanted != "general") {
    return invalid_argument(fmt::format("kernel: found '{}', expected step or general", wanted));
  }
  if (general_columns(problem.key_dim) == 0) {
    return invalid_argument(
        fmt::format("q: found K = {}, expected at most 8000 on a GPU", problem.key_dim));
  }
  return wanted.empty() ? "step" : wanted;
}

}  // namespace tnl::cuda
