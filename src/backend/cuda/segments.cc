#include "backend/cuda/segments.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "core/try.h"

namespace tnl::cuda {

namespace {

// A warm-up chunk, in units of a whole one: it reads k and v only and has one product of four.
constexpr double kWarmCost = 0.45;
constexpr double kLaunchSeconds = 3e-6;
constexpr std::int64_t kMaxRuns = 1 << 20;
constexpr std::int64_t kInvariantRun = 64;  // chunks of a run of a batch-invariant plan

// One sequence and head of one call.
struct Chain {
  int call = 0;
  std::int64_t sequence = 0, head = 0;
  std::int64_t tokens = 0, chunks = 0;
  std::int64_t horizon = 0;  // chunks after which a state is forgotten
};

struct Device {
  SweepShape shape;
  DeviceLimits limits;
  int blocks_per_item;
  double bytes_per_chunk;  // of one item: q, k, v and o

  // Seconds of a chunk in one block, alone on its multiprocessor or not, as measured on an H200.
  double chunk_seconds(Split split, bool shared) const {
    const double slower = split == Split::kNone ? 1.0 : split == Split::kState ? 1.3 : 1.7;
    switch (shape.key_tiles) {
      case 1:
        return shared ? 1.3e-6 : 1.0e-6 * (split == Split::kAll ? 1.35 : 1.05);
      case 2:
        return slower * 1.42e-6;
      default:
        return slower * 2.8e-6;
    }
  }
};

std::vector<Chain> chains_of(std::span<const AttentionProblem> problems, const LaunchPlan& launch,
                             double bits) {
  std::vector<Chain> chains;
  const AttentionProblem& first = problems[launch.calls[0]];
  chains.reserve(first.sequences * first.heads * launch.calls.size());
  for (std::int64_t n = 0; n < first.sequences; ++n) {
    const std::int64_t tokens = first.length(n), chunks = (tokens + kChunk - 1) / kChunk;
    for (std::int64_t h = 0; h < first.heads; ++h) {
      const double halvings = -log2_decay(first.log_decay[h]) * kChunk;
      const double horizon = halvings > 0 ? std::ceil(bits / halvings) : 1e18;
      for (std::size_t i = 0; i < launch.calls.size(); ++i) {
        chains.push_back({static_cast<int>(i), n, h, tokens, chunks,
                          static_cast<std::int64_t>(std::min<double>(horizon, 1e9))});
      }
    }
  }
  return chains;
}

// The run of `chain` that covers chunks first .. last, after `warm` chunks that build its state.
WorkItem run_of(const AttentionProblem& p, const Chain& chain, std::int64_t first,
                std::int64_t last, std::int64_t warm) {
  WorkItem item;
  const std::int64_t begin = p.begin(chain.sequence), start = (first - warm) * kChunk;
  item.row = static_cast<std::int32_t>(p.reverse ? begin + chain.tokens - start : begin + start);
  item.batch = static_cast<std::int32_t>(p.cu_seqlens.empty() ? chain.sequence : 0);
  item.sequence = static_cast<std::int32_t>(chain.sequence);
  item.head = static_cast<std::int32_t>(chain.head);
  item.call = chain.call;
  item.warm_chunks = static_cast<std::int32_t>(warm);
  item.tokens = static_cast<std::int32_t>(std::min(chain.tokens, last * kChunk) - first * kChunk);
  if (first == warm && p.state_in.data != nullptr) item.state_in = kCallerState;
  if (last == chain.chunks && p.state_out.data != nullptr) item.state_out = kCallerState;
  return item;
}

double cost(const WorkItem& item) {
  return (item.tokens + kChunk - 1) / kChunk + kWarmCost * item.warm_chunks;
}

// Longest first, so that the blocks that start last are short.
void sort_by_cost(std::vector<WorkItem>& items) {
  std::stable_sort(items.begin(), items.end(),
                   [](const WorkItem& a, const WorkItem& b) { return cost(a) > cost(b); });
}

double seconds(const std::vector<WorkItem>& items, const Device& device, Split split) {
  if (items.empty()) return 0;
  double total = 0, longest = 0, bytes = 0;
  for (const WorkItem& item : items) {
    total += cost(item);
    longest = std::max(longest, cost(item));
    bytes +=
        ((item.tokens + kChunk - 1) / kChunk + 0.5 * item.warm_chunks) * device.bytes_per_chunk;
  }
  const double blocks = static_cast<double>(items.size()) * device.blocks_per_item;
  const double slots = device.limits.multiprocessors * device.shape.blocks_per_multiprocessor;
  const double chunk = device.chunk_seconds(split, blocks > device.limits.multiprocessors);
  const double compute = std::max(longest, total * device.blocks_per_item / slots) * chunk;
  return kLaunchSeconds + std::max(compute, bytes / device.limits.bytes_per_second);
}

void plan_plain(std::span<const AttentionProblem> problems, const std::vector<Chain>& chains,
                const Device& device, LaunchPlan& launch) {
  launch.segments = Segments::kPlain;
  for (const Chain& chain : chains) {
    launch.main.push_back(run_of(problems[launch.calls[chain.call]], chain, 0, chain.chunks, 0));
  }
  launch.uniform = problems[launch.calls[0]].cu_seqlens.empty();
  if (!launch.uniform) sort_by_cost(launch.main);
  launch.estimated_seconds = seconds(launch.main, device, launch.split);
}

// Runs of equal cost, about `runs` of them: a chain whose states live long gets fewer.
void plan_warm(std::span<const AttentionProblem> problems, const std::vector<Chain>& chains,
               const Device& device, std::int64_t runs, LaunchPlan& launch) {
  launch.segments = Segments::kWarm;
  const auto count = [](const Chain& chain, double budget) -> std::int64_t {
    if (chain.chunks == 0) return 1;
    const double warm = kWarmCost * std::min(chain.horizon, chain.chunks);
    const auto length = static_cast<std::int64_t>(std::max(2.0, std::floor(budget - warm)));
    return (chain.chunks + length - 1) / length;
  };
  double low = 2, high = 2;
  for (const Chain& chain : chains) high = std::max(high, 2.0 * chain.chunks + 2);
  for (int i = 0; i < 50; ++i) {
    const double budget = 0.5 * (low + high);
    std::int64_t total = 0;
    for (const Chain& chain : chains) total += count(chain, budget);
    (total > runs ? low : high) = budget;
  }
  for (const Chain& chain : chains) {
    const AttentionProblem& p = problems[launch.calls[chain.call]];
    const std::int64_t n = count(chain, high);
    const double horizon = std::min(chain.horizon, chain.chunks);
    const double each = (chain.chunks + kWarmCost * horizon * (n - 1)) / n;
    double end = 0;
    std::int64_t first = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      end += each - (i > 0 ? kWarmCost * horizon : 0);
      std::int64_t last = std::clamp<std::int64_t>(std::llround(end), first, chain.chunks);
      if (i + 1 == n) last = chain.chunks;
      if (last == first && chain.chunks > 0) continue;
      launch.main.push_back(run_of(p, chain, first, last, std::min(chain.horizon, first)));
      first = last;
    }
  }
  sort_by_cost(launch.main);
  launch.estimated_seconds = seconds(launch.main, device, launch.split);
}

// Runs of `length` chunks. The state pass reads the end of each run but the last, as far as it
// matters.
void carry_runs_of(std::span<const AttentionProblem> problems, const std::vector<Chain>& chains,
                   const Device& device, std::int64_t length, LaunchPlan& launch) {
  launch.segments = Segments::kCarry;
  for (const Chain& chain : chains) {
    const AttentionProblem& p = problems[launch.calls[chain.call]];
    const std::int64_t n = std::max<std::int64_t>(1, (chain.chunks + length - 1) / length);
    const double factor = std::exp2(log2_decay(p.log_decay[chain.head]) * length * kChunk);
    for (std::int64_t i = 0; i < n; ++i) {
      const std::int64_t first = i * length, last = std::min(chain.chunks, first + length);
      WorkItem item = run_of(p, chain, first, last, 0);
      if (i > 0) item.state_in = launch.slots + static_cast<int>(i) - 1;
      launch.main.push_back(item);
      if (i + 1 == n) break;
      const std::int64_t warm = std::min(chain.horizon, length);
      WorkItem pass = run_of(p, chain, last, last, warm);
      pass.tokens = 0;
      pass.state_out = launch.slots + static_cast<int>(i);
      // run_of gives the caller's state where the warm-up reaches the start of the sequence.
      launch.state_pass.push_back(pass);
    }
    if (n > 1) {
      launch.scans.push_back(
          {launch.slots, static_cast<std::int32_t>(n - 1), static_cast<float>(factor)});
    }
    launch.slots += static_cast<int>(n - 1);
  }
  sort_by_cost(launch.main);
  sort_by_cost(launch.state_pass);
  const double scan = 2.0 * launch.slots * launch.slot_bytes / device.limits.bytes_per_second;
  launch.estimated_seconds = seconds(launch.main, device, launch.split) +
                             seconds(launch.state_pass, device, launch.split) +
                             (launch.slots > 0 ? kLaunchSeconds + scan : 0);
}

void plan_carry(std::span<const AttentionProblem> problems, const std::vector<Chain>& chains,
                const Device& device, std::int64_t runs, LaunchPlan& launch) {
  std::int64_t total = 0;
  for (const Chain& chain : chains) total += chain.chunks;
  const std::int64_t length = std::max<std::int64_t>(2, (total + runs - 1) / runs);
  carry_runs_of(problems, chains, device, length, launch);
}

}  // namespace

Status choose_segments(std::span<const AttentionProblem> problems, const DeviceLimits& limits,
                       const PlanOptions& options, LaunchPlan& launch) {
  const AttentionProblem& first = problems[launch.calls[0]];
  Device device{sweep_shape(launch.kernel, launch.split), limits, launch.blocks_per_item, 0};
  device.bytes_per_chunk = 2.0 * kChunk * 2 * (first.key_dim + first.value_dim);
  const std::vector<Chain> chains = chains_of(problems, launch, options.horizon_bits);
  const std::string& forced = options.segments;
  if (!forced.empty() && forced != "plain" && forced != "warm" && forced != "carry") {
    return invalid_argument(
        fmt::format("segments: found '{}', expected plain, warm or carry", forced));
  }
  if (options.runs < 0 || options.runs > kMaxRuns) {
    return invalid_argument(
        fmt::format("runs: found {}, expected 0 (chosen) to {}", options.runs, kMaxRuns));
  }
  const LaunchPlan empty = launch;
  std::int64_t longest = 0;
  for (const Chain& chain : chains) longest = std::max(longest, chain.chunks);

  if (options.batch_invariant) {
    carry_runs_of(problems, chains, device, kInvariantRun, launch);
    return {};
  }
  LaunchPlan best = empty;
  if (forced.empty() || forced == "plain" || longest < 4) {
    plan_plain(problems, chains, device, best);
  }
  const auto consider = [&](auto plan, std::int64_t runs) {
    LaunchPlan candidate = empty;
    plan(problems, chains, device, runs, candidate);
    if (best.main.empty() || candidate.estimated_seconds < best.estimated_seconds) {
      best = std::move(candidate);
    }
  };
  if (forced != "plain" && longest >= 4) {
    const double slots = static_cast<double>(limits.multiprocessors) / launch.blocks_per_item;
    std::vector<std::int64_t> counts;
    if (options.runs > 0) {
      counts.push_back(options.runs);
    } else {
      for (double share : {1.0, 2.0, 4.0}) {
        const auto runs = static_cast<std::int64_t>(slots * share);
        if (runs > static_cast<std::int64_t>(chains.size())) counts.push_back(runs);
      }
      if (counts.empty() && !forced.empty()) counts.push_back(2 * chains.size());
    }
    for (std::int64_t runs : counts) {
      if (forced != "carry") consider(plan_warm, runs);
      if (forced != "warm") consider(plan_carry, runs);
    }
  }
  launch = std::move(best);
  return {};
}

}  // namespace tnl::cuda
