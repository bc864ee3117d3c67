#include "backend/cuda/plan.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "backend/cuda/lightning/chunk_config.h"
#include "backend/cuda/lightning/fma_config.h"
#include "backend/cuda/lightning/mma_config.h"
#include "backend/cuda/segments.h"
#include "core/check.h"
#include "core/try.h"

namespace tnl::cuda {

namespace {

constexpr std::int64_t kMaxCoordinate = std::int64_t{1} << 30;  // of the copy engine, with room

template <class C>
SweepShape shape_of() {
  SweepShape shape{C::kKeyTiles, C::kWorkers, C::kBlocksPerSm, C::kThreads, C::kSharedBytes};
  if constexpr (requires { C::kTurns; }) {
    shape.turns = C::kTurns;
  }
  return shape;
}

template <template <Split> class Config>
SweepShape shape_of(Split split) {
  if (split == Split::kNone) return shape_of<Config<Split::kNone>>();
  if (split == Split::kState) return shape_of<Config<Split::kState>>();
  return shape_of<Config<Split::kAll>>();
}

// The copy engine wants 16-byte steps; a stride of an axis of length 1 is never used.
bool copyable(const AttentionOperand& x, const AttentionProblem& p) {
  const auto fits = [](std::int64_t stride, bool used) {
    return !used || (stride > 0 && stride % 8 == 0 && stride < (std::int64_t{1} << 38));
  };
  return reinterpret_cast<std::uintptr_t>(x.data) % 16 == 0 && fits(x.stride_token, true) &&
         fits(x.stride_head, p.heads > 1) &&
         fits(x.stride_batch, p.cu_seqlens.empty() && p.sequences > 1 && p.tokens > 0);
}

// What every kernel that works through work items can hold.
bool countable(const AttentionProblem& p) {
  const std::int64_t rows = p.cu_seqlens.empty() ? p.tokens : p.cu_seqlens[p.sequences];
  return p.key_dim >= 1 && p.key_dim <= 256 && rows < kMaxCoordinate &&
         p.sequences < kMaxCoordinate && p.heads < kMaxCoordinate;
}

// cp.async copies 16 bytes as the copy engine does, but zeroes the rest of a row of any length.
bool mma_takes(const AttentionProblem& p, const DeviceLimits& limits) {
  return limits.capability >= 80 && (p.dtype == DType::kBF16 || p.dtype == DType::kF16) &&
         countable(p) && copyable(p.q, p) && copyable(p.k, p) && copyable(p.v, p) &&
         copyable(p.o, p);
}

bool sweepable(const AttentionProblem& p, const DeviceLimits& limits) {
  return limits.capability / 10 == 9 && mma_takes(p, limits) && p.value_dim >= 8 &&
         p.value_dim % 8 == 0;
}

// No sequence longer than a chunk, and no state to start from.
bool one_chunk(const AttentionProblem& p) {
  std::int64_t longest = 0;
  for (std::int64_t n = 0; n < p.sequences; ++n) longest = std::max(longest, p.length(n));
  return longest <= kChunk && p.state_in.data == nullptr;
}

int tiles_of(std::int64_t columns) {
  return static_cast<int>((columns + kTile - 1) / kTile);
}

// The kernels that could run a call, best guess first.
std::vector<Kernel> candidates(const AttentionProblem& p, const DeviceLimits& limits,
                               const PlanOptions& options) {
  if (!sweepable(p, limits)) {
    if (!countable(p)) return {Kernel::kGeneral};
    const bool mma = mma_takes(p, limits);
    if (p.key_dim <= 64) return {mma ? Kernel::kMma64 : Kernel::kFma64};
    if (p.key_dim <= 128) return {mma ? Kernel::kMma128 : Kernel::kFma128};
    return {mma ? Kernel::kMma256 : Kernel::kFma256};
  }
  if (p.key_dim <= 64) {
    std::vector<Kernel> kernels{Kernel::kSweep64, Kernel::kSweep64Single};
    // Its bits differ: not where another batch may get another kernel.
    if (!options.batch_invariant) kernels.push_back(Kernel::kSweep64Pair);
    return kernels;
  }
  if (p.key_dim <= 128) {
    if (one_chunk(p)) return {Kernel::kChunk128};
    return {Kernel::kSweep128, Kernel::kSweep128Single};
  }
  return {Kernel::kSweep256, Kernel::kSweep256Single};
}

Result<Kernel> forced_kernel(const std::string& name, const AttentionProblem& p,
                             const DeviceLimits& limits) {
  if (name == kernel_name(Kernel::kGeneral)) return Kernel::kGeneral;
  if (name == kernel_name(Kernel::kChunk128)) {
    if (kernel_takes(Kernel::kChunk128, p, limits)) return Kernel::kChunk128;
    return invalid_argument(fmt::format(
        "kernel '{}': the call needs what sweep128 does, sequences of at most {} tokens and no "
        "incoming state",
        name, kChunk));
  }
  std::string names;
  for (Kernel kernel : kSweeps) {
    names += fmt::format("{}, ", kernel_name(kernel));
    if (name != kernel_name(kernel)) continue;
    const SweepShape shape = sweep_shape(kernel, Split::kState);
    if (!sweepable(p, limits)) {
      return invalid_argument(
          fmt::format("kernel '{}': the call needs a device of compute capability 9.x, bf16 or "
                      "f16, K <= 256, V "
                      "a multiple of 8, data and strides that are multiples of 16 bytes",
                      name));
    }
    if (p.key_dim > kTile * shape.key_tiles) {
      return invalid_argument(fmt::format("kernel '{}': found K = {}, expected at most {}", name,
                                          p.key_dim, kTile * shape.key_tiles));
    }
    return kernel;
  }
  for (Kernel kernel : kRowKernels) {
    names += fmt::format("{}, ", kernel_name(kernel));
    if (name != kernel_name(kernel)) continue;
    const int most = kTile * sweep_shape(kernel, Split::kNone).key_tiles;
    if (p.key_dim > most || !countable(p)) {
      return invalid_argument(
          fmt::format("kernel '{}': found K = {}, expected at most {}", name, p.key_dim, most));
    }
    if (!is_mma(kernel) || mma_takes(p, limits)) return kernel;
    return invalid_argument(
        fmt::format("kernel '{}': the call needs a device of compute capability 8.0 or more, bf16 "
                    "or f16, data and strides that are multiples of 16 bytes",
                    name));
  }
  return invalid_argument(
      fmt::format("kernel: found '{}', expected {}chunk128 or general", name, names));
}

// What the launch takes with one kernel.
Status plan_launch(std::span<const AttentionProblem> problems, const DeviceLimits& limits,
                   const PlanOptions& options, LaunchPlan& launch) {
  const SweepShape shape = sweep_shape(launch.kernel, launch.split);
  const int tiles = tiles_of(problems[launch.calls[0]].value_dim);
  const int blocks = (tiles + shape.workers - 1) / shape.workers;
  launch.value_tiles = blocks * shape.workers;
  launch.turns = shape.turns;
  launch.blocks_per_item = blocks * shape.turns;
  launch.slot_bytes = sizeof(float) * kTile * kTile * shape.key_tiles * launch.value_tiles;
  return choose_segments(problems, limits, options, launch);
}

std::size_t align(std::size_t bytes) {
  return (bytes + 255) / 256 * 256;
}

}  // namespace

bool kernel_takes(Kernel kernel, const AttentionProblem& problem, const DeviceLimits& limits) {
  if (kernel == Kernel::kGeneral) return general_columns(problem.key_dim) > 0;
  if (problem.key_dim > kTile * sweep_shape(kernel, Split::kNone).key_tiles) return false;
  if (kernel == Kernel::kChunk128 && !one_chunk(problem)) return false;
  if (!is_row_kernel(kernel)) return sweepable(problem, limits);
  return is_mma(kernel) ? mma_takes(problem, limits) : countable(problem);
}

SweepShape sweep_shape(Kernel kernel, Split split) {
  switch (kernel) {
    case Kernel::kSweep64:
      return shape_of<Sweep64>(split);
    case Kernel::kSweep128:
      return shape_of<Sweep128>(split);
    case Kernel::kSweep256:
      return shape_of<Sweep256>(split);
    case Kernel::kSweep64Single:
      return shape_of<Sweep64Single>(split);
    case Kernel::kSweep128Single:
      return shape_of<Sweep128Single>(split);
    case Kernel::kSweep256Single:
      return shape_of<Sweep256Single>(split);
    case Kernel::kSweep64Pair:
      return shape_of<Sweep64Pair>(split);
    case Kernel::kChunk128:
      return shape_of<Chunk128>(split);
    case Kernel::kMma64:
      return shape_of<Mma64>(split);
    case Kernel::kMma128:
      return shape_of<Mma128>(split);
    case Kernel::kMma256:
      return shape_of<Mma256>(split);
    case Kernel::kFma64:
      return shape_of<Fma64>();
    case Kernel::kFma128:
      return shape_of<Fma128>();
    case Kernel::kFma256:
      return shape_of<Fma256>();
    case Kernel::kGeneral:
      break;
  }
  TNL_CHECK(false);
  return {};
}

SweepShape sweep_shape(Kernel kernel, Split split, const DeviceLimits& limits) {
  constexpr std::size_t kReserved = 1024;  // of every block
  SweepShape shape = sweep_shape(kernel, split);
  const std::size_t fit = limits.shared_per_multiprocessor / (shape.shared_bytes + kReserved);
  shape.blocks_per_multiprocessor =
      std::max(1, std::min(shape.blocks_per_multiprocessor, static_cast<int>(fit)));
  return shape;
}

std::size_t general_shared_bytes(std::int64_t key_dim, int columns) {
  return sizeof(float) * (key_dim * (columns + 2) + kGeneralThreads);
}

int general_columns(std::int64_t key_dim) {
  constexpr std::size_t kMost = 96 * 1024;  // what every supported device grants a block
  for (int columns = 32; columns > 0; columns /= 2) {
    if (general_shared_bytes(key_dim, columns) <= kMost) return columns;
  }
  return 0;
}

const char* kernel_name(Kernel kernel) {
  switch (kernel) {
    case Kernel::kSweep64:
      return "sweep64";
    case Kernel::kSweep128:
      return "sweep128";
    case Kernel::kSweep256:
      return "sweep256";
    case Kernel::kSweep64Single:
      return "sweep64-single";
    case Kernel::kSweep128Single:
      return "sweep128-single";
    case Kernel::kSweep256Single:
      return "sweep256-single";
    case Kernel::kSweep64Pair:
      return "sweep64-pair";
    case Kernel::kChunk128:
      return "chunk128";
    case Kernel::kMma64:
      return "mma64";
    case Kernel::kMma128:
      return "mma128";
    case Kernel::kMma256:
      return "mma256";
    case Kernel::kFma64:
      return "fma64";
    case Kernel::kFma128:
      return "fma128";
    case Kernel::kFma256:
      return "fma256";
    case Kernel::kGeneral:
      break;
  }
  return "general";
}

const char* segments_name(Segments segments) {
  switch (segments) {
    case Segments::kWarm:
      return "warm";
    case Segments::kCarry:
      return "carry";
    case Segments::kPlain:
      break;
  }
  return "plain";
}

double log2_decay(float log_decay) {
  constexpr double kLog2E = 1.4426950408889634074, kForgotten = -1e6, kResolution = 0x1p-24;
  const double x = std::max(static_cast<double>(log_decay) * kLog2E, kForgotten);
  const double whole = std::round(x);
  return std::abs(x - whole) <= kResolution * std::abs(whole) ? whole : x;
}

Result<Plan> plan_attention(std::span<const AttentionProblem> problems, const DeviceLimits& limits,
                            const PlanOptions& options) {
  TNL_CHECK(!problems.empty() && problems.size() <= kMaxCalls);
  Plan plan;
  std::vector<std::vector<Kernel>> kernels;  // of each launch, those to choose from
  for (std::size_t i = 0; i < problems.size(); ++i) {
    const AttentionProblem& p = problems[i];
    std::vector<Kernel> choice = candidates(p, limits, options);
    if (!options.kernel.empty()) {
      TNL_ASSIGN(const Kernel kernel, forced_kernel(options.kernel, p, limits));
      choice = {kernel};
    }
    if (p.dtype == DType::kF64) {
      return invalid_argument("attention on a GPU: found f64, expected f32, bf16 or f16");
    }
    if (choice[0] == Kernel::kGeneral && general_columns(p.key_dim) == 0) {
      return invalid_argument(
          fmt::format("attention on a GPU: found K = {}, expected at most 8000", p.key_dim));
    }
    // Calls of one kernel and value width share a launch, so that they share what they read.
    LaunchPlan* launch = nullptr;
    for (std::size_t j = 0; j < plan.launches.size(); ++j) {
      if (choice[0] != Kernel::kGeneral && kernels[j] == choice &&
          problems[plan.launches[j].calls[0]].value_dim == p.value_dim) {
        launch = &plan.launches[j];
      }
    }
    if (launch == nullptr) {
      launch = &plan.launches.emplace_back();
      // Splitting S takes half of what is above the rounding of o itself, and hides behind memory.
      launch->split = options.split.value_or(Split::kState);
      // In fp32 there is nothing to split.
      if (is_row_kernel(choice[0]) && !is_mma(choice[0])) launch->split = Split::kNone;
      kernels.push_back(choice);
    }
    launch->calls.push_back(static_cast<int>(i));
  }
  for (std::size_t j = 0; j < plan.launches.size(); ++j) {
    LaunchPlan& launch = plan.launches[j];
    const LaunchPlan empty = launch;
    for (std::size_t i = 0; i < kernels[j].size(); ++i) {
      LaunchPlan candidate = empty;
      candidate.kernel = kernels[j][i];
      if (candidate.kernel != Kernel::kGeneral) {
        TNL_TRY(plan_launch(problems, limits, options, candidate));
      }
      if (i == 0 || candidate.estimated_seconds < launch.estimated_seconds) {
        launch = std::move(candidate);
      }
    }
    plan.workspace_bytes += launch_workspace(launch, problems[0].heads);
  }
  return plan;
}

std::size_t table_bytes(const LaunchPlan& launch, std::int64_t heads) {
  if (launch.kernel == Kernel::kGeneral) return 0;
  const std::size_t items = (launch.uniform ? 0 : launch.main.size()) + launch.state_pass.size();
  return items * sizeof(WorkItem) + launch.scans.size() * sizeof(ScanItem) +
         static_cast<std::size_t>(heads) * 2 * sizeof(float);
}

std::size_t launch_workspace(const LaunchPlan& launch, std::int64_t heads) {
  return align(table_bytes(launch, heads)) + align(launch.slots * launch.slot_bytes);
}

std::string Plan::describe() const {
  std::string text;
  for (const LaunchPlan& launch : launches) {
    if (!text.empty()) text += "; ";
    text += fmt::format("{} {}", kernel_name(launch.kernel), segments_name(launch.segments));
    if (launch.kernel == Kernel::kGeneral) continue;
    if (launch.split == Split::kAll) text += " precise";
    if (launch.split == Split::kState) text += " state-split";
    text += fmt::format(" {} x {} blocks", launch.main.size(), launch.blocks_per_item);
    if (!launch.state_pass.empty()) text += fmt::format(" after {}", launch.state_pass.size());
  }
  return text;
}

}  // namespace tnl::cuda
