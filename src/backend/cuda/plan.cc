#include "backend/cuda/plan.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "backend/cuda/segments.h"
#include "core/check.h"
#include "core/try.h"

namespace tnl::cuda {

namespace {

constexpr std::int64_t kMaxCoordinate = std::int64_t{1} << 30;  // of the copy engine, with room

template <template <Split> class Config>
SweepShape shape_of(Split split) {
  const auto shape = [](auto config) {
    using C = decltype(config);
    return SweepShape{C::kKeyTiles, C::kWorkers, C::kBlocksPerSm, C::kThreads, C::kSharedBytes};
  };
  if (split == Split::kNone) return shape(Config<Split::kNone>{});
  if (split == Split::kState) return shape(Config<Split::kState>{});
  return shape(Config<Split::kAll>{});
}

// The copy engine wants 16-byte steps; a stride of an axis of length 1 is never used.
bool copyable(const AttentionOperand& x, const AttentionProblem& p) {
  const auto fits = [](std::int64_t stride, bool used) {
    return !used || (stride > 0 && stride % 8 == 0 && stride < (std::int64_t{1} << 38));
  };
  return reinterpret_cast<std::uintptr_t>(x.data) % 16 == 0 && fits(x.stride_token, true) &&
         fits(x.stride_head, p.heads > 1) &&
         fits(x.stride_batch, p.cu_seqlens.empty() && p.sequences > 1);
}

int tiles_of(std::int64_t columns) {
  return static_cast<int>((columns + kTile - 1) / kTile);
}

Kernel choose_kernel(const AttentionProblem& p, const DeviceLimits& limits) {
  if (!sweepable(p, limits)) return Kernel::kGeneral;
  if (p.key_dim <= 64) return Kernel::kSweep64;
  return p.key_dim <= 128 ? Kernel::kSweep128 : Kernel::kSweep256;
}

Result<Kernel> forced_kernel(const std::string& name, const AttentionProblem& p,
                             const DeviceLimits& limits) {
  for (Kernel kernel : {Kernel::kSweep64, Kernel::kSweep128, Kernel::kSweep256, Kernel::kGeneral}) {
    if (name != kernel_name(kernel)) continue;
    if (kernel == Kernel::kGeneral) return kernel;
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
  return invalid_argument(
      fmt::format("kernel: found '{}', expected sweep64, sweep128, sweep256 or general", name));
}

// Splitting S halves what is above the rounding of o itself. The forward pass of K <= 128 hides it
// behind memory; elsewhere it would cost a sixth of the time.
Split choose_split(Kernel kernel, std::size_t calls) {
  return calls == 1 && kernel != Kernel::kSweep256 ? Split::kState : Split::kNone;
}

std::size_t align(std::size_t bytes) {
  return (bytes + 255) / 256 * 256;
}

}  // namespace

bool sweepable(const AttentionProblem& p, const DeviceLimits& limits) {
  const std::int64_t rows = p.cu_seqlens.empty() ? p.tokens : p.cu_seqlens[p.sequences];
  return limits.capability >= 90 && limits.capability < 100 &&
         (p.dtype == DType::kBF16 || p.dtype == DType::kF16) && p.key_dim >= 1 &&
         p.key_dim <= 256 && p.value_dim >= 8 && p.value_dim % 8 == 0 && rows < kMaxCoordinate &&
         p.sequences < kMaxCoordinate && p.heads < kMaxCoordinate && copyable(p.q, p) &&
         copyable(p.k, p) && copyable(p.v, p) && copyable(p.o, p);
}

SweepShape sweep_shape(Kernel kernel, Split split) {
  switch (kernel) {
    case Kernel::kSweep64:
      return shape_of<Sweep64>(split);
    case Kernel::kSweep128:
      return shape_of<Sweep128>(split);
    case Kernel::kSweep256:
      return shape_of<Sweep256>(split);
    case Kernel::kGeneral:
      break;
  }
  TNL_CHECK(false);
  return {};
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
  for (std::size_t i = 0; i < problems.size(); ++i) {
    const AttentionProblem& p = problems[i];
    Kernel kernel = choose_kernel(p, limits);
    if (!options.kernel.empty()) {
      TNL_ASSIGN(kernel, forced_kernel(options.kernel, p, limits));
    }
    if (p.dtype == DType::kF64) {
      return invalid_argument("attention on a GPU: found f64, expected f32, bf16 or f16");
    }
    if (kernel == Kernel::kGeneral && general_columns(p.key_dim) == 0) {
      return invalid_argument(
          fmt::format("attention on a GPU: found K = {}, expected at most 8000", p.key_dim));
    }
    // Calls of one kernel and value width share a launch, so that they share what they read.
    LaunchPlan* launch = nullptr;
    for (LaunchPlan& other : plan.launches) {
      if (kernel != Kernel::kGeneral && other.kernel == kernel &&
          problems[other.calls[0]].value_dim == p.value_dim) {
        launch = &other;
      }
    }
    if (launch == nullptr) {
      launch = &plan.launches.emplace_back();
      launch->kernel = kernel;
      launch->split = options.split.value_or(choose_split(kernel, problems.size()));
    }
    launch->calls.push_back(static_cast<int>(i));
  }
  for (LaunchPlan& launch : plan.launches) {
    if (launch.kernel != Kernel::kGeneral) {
      const SweepShape shape = sweep_shape(launch.kernel, launch.split);
      const int tiles = tiles_of(problems[launch.calls[0]].value_dim);
      launch.blocks_per_item = (tiles + shape.workers - 1) / shape.workers;
      launch.value_tiles = launch.blocks_per_item * shape.workers;
      launch.slot_bytes = sizeof(float) * kTile * kTile * shape.key_tiles * launch.value_tiles;
      TNL_TRY(choose_segments(problems, limits, options, launch));
    }
    plan.workspace_bytes += launch_workspace(launch, problems[0].heads);
  }
  return plan;
}

std::size_t launch_workspace(const LaunchPlan& launch, std::int64_t heads) {
  if (launch.kernel == Kernel::kGeneral) return 0;
  return (launch.uniform ? 0 : align(launch.main.size() * sizeof(WorkItem))) +
         align(launch.state_pass.size() * sizeof(WorkItem)) +
         align(launch.scans.size() * sizeof(ScanItem)) + align(heads * 2 * sizeof(float)) +
         align(launch.slots * launch.slot_bytes);
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
