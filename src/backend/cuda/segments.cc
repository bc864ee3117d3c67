#include "backend/cuda/segments.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "backend/cuda/cost_model.h"
#include "core/try.h"

namespace tnl::cuda {

namespace {

constexpr std::int64_t kMaxRuns = 1 << 20;
constexpr std::int64_t kInvariantChunks = 128;  // of a run that must not depend on the batch

// One sequence and head of one call.
struct Chain {
  int call = 0;
  std::int64_t sequence = 0, head = 0;
  std::int64_t tokens = 0, chunks = 0;
  std::int64_t horizon = 0;  // chunks after which a state is forgotten
};

// After how many halvings a state is taken as forgotten: what fp32 sums cannot hold anyway, or,
// where operands are rounded to 16 bits, a thousandth of that rounding.
double horizon_bits(DType dtype, Split split) {
  return dtype == DType::kF32 || split == Split::kAll ? 24 : 20;
}

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
  return static_cast<double>((item.tokens + kChunk - 1) / kChunk) +
         CostModel::kWarmChunk * item.warm_chunks;
}

// Longest first, so that the blocks that start last are short.
void sort_by_cost(std::vector<WorkItem>& items) {
  std::stable_sort(items.begin(), items.end(),
                   [](const WorkItem& a, const WorkItem& b) { return cost(a) > cost(b); });
}

double seconds(const std::vector<WorkItem>& items, const CostModel& model, Segments segments) {
  std::vector<double> costs;
  costs.reserve(items.size());
  for (const WorkItem& item : items) costs.push_back(cost(item));
  return model.seconds(costs, segments);
}

// What the ways of cutting have in common.
struct Cutter {
  std::span<const AttentionProblem> problems;
  const std::vector<Chain>& chains;     // the calls of a sequence and head lie side by side
  const CostModel &model, &pass_model;  // of the sweep and of the pass that only builds states
  const DeviceLimits& limits;

  const AttentionProblem& problem(const LaunchPlan& launch, const Chain& chain) const {
    return problems[launch.calls[chain.call]];
  }

  void plain(LaunchPlan& launch) const {
    launch.segments = Segments::kPlain;
    for (const Chain& chain : chains) {
      launch.main.push_back(run_of(problem(launch, chain), chain, 0, chain.chunks, 0));
    }
    launch.uniform = problems[launch.calls[0]].cu_seqlens.empty();
    if (!launch.uniform) sort_by_cost(launch.main);
    launch.estimated_seconds = seconds(launch.main, model, launch.segments);
  }

  void warm(std::int64_t runs, LaunchPlan& launch) const;
  void carry(std::int64_t length, LaunchPlan& launch) const;

  // The shortest runs of one length of which there are no more than `runs`, or one a chain; a
  // multiple of `turns` chunks.
  std::int64_t carry_length(std::int64_t runs, int turns) const {
    std::int64_t low = 2, high = 2;
    for (const Chain& chain : chains) high = std::max(high, chain.chunks);
    while (low < high) {
      const std::int64_t length = (low + high) / 2;
      std::int64_t count = 0;
      for (const Chain& chain : chains) {
        count += std::max<std::int64_t>(1, (chain.chunks + length - 1) / length);
      }
      if (count > runs) {
        low = length + 1;
      } else {
        high = length;
      }
    }
    return (low + turns - 1) / turns * turns;
  }
};

// Runs of equal cost, about `runs` of them: a chain whose states live long gets fewer.
void Cutter::warm(std::int64_t runs, LaunchPlan& launch) const {
  launch.segments = Segments::kWarm;
  const double weight = launch.calls.size() == 1 ? CostModel::kWarmCut : CostModel::kWarmChunk;
  const auto warm_up = [weight](const Chain& chain) {
    return weight * static_cast<double>(std::min(chain.horizon, chain.chunks));
  };
  const auto count = [&](const Chain& chain, double budget) -> std::int64_t {
    if (chain.chunks == 0) return 1;
    const auto length =
        static_cast<std::int64_t>(std::max(2.0, std::floor(budget - warm_up(chain))));
    return (chain.chunks + length - 1) / length;
  };
  double low = 2, high = 2;
  for (const Chain& chain : chains) {
    high = std::max(high, 2.0 * static_cast<double>(chain.chunks) + 2);
  }
  for (int i = 0; i < 50; ++i) {
    const double budget = 0.5 * (low + high);
    std::int64_t total = 0;
    for (const Chain& chain : chains) total += count(chain, budget);
    (total > runs ? low : high) = budget;
  }
  const std::size_t calls = launch.calls.size();
  for (std::size_t group = 0; group < chains.size(); group += calls) {
    const Chain& chain = chains[group];
    const std::int64_t n = count(chain, high);
    const double each =
        (static_cast<double>(chain.chunks) + warm_up(chain) * static_cast<double>(n - 1)) /
        static_cast<double>(n);
    double end = 0;
    std::int64_t first = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      end += each - (i > 0 ? warm_up(chain) : 0);
      std::int64_t last = std::clamp<std::int64_t>(std::llround(end), first, chain.chunks);
      if (i + 1 == n) last = chain.chunks;
      if (last == first && chain.chunks > 0) continue;
      for (std::size_t c = group; c < group + calls; ++c) {
        launch.main.push_back(run_of(problem(launch, chains[c]), chains[c], first, last,
                                     std::min(chain.horizon, first)));
      }
      first = last;
    }
  }
  sort_by_cost(launch.main);
  launch.estimated_seconds = seconds(launch.main, model, launch.segments);
}

// Runs of one length. The state pass reads the end of each run but the last, as far as it matters;
// where blocks take turns at a run, each takes a piece of it there.
void Cutter::carry(std::int64_t length, LaunchPlan& launch) const {
  launch.segments = Segments::kCarry;
  for (const Chain& chain : chains) {
    const AttentionProblem& p = problem(launch, chain);
    const std::int64_t n = std::max<std::int64_t>(1, (chain.chunks + length - 1) / length);
    const std::int64_t piece = length / launch.turns;
    const double factor =
        std::exp2(log2_decay(p.log_decay[chain.head]) * static_cast<double>(piece * kChunk));
    for (std::int64_t i = 0; i < n; ++i) {
      const std::int64_t first = i * length, last = std::min(chain.chunks, first + length);
      WorkItem item = run_of(p, chain, first, last, 0);
      if (i > 0) item.state_in = launch.slots + static_cast<int>(i) * launch.turns - 1;
      launch.main.push_back(item);
      if (i + 1 == n) break;
      for (int j = 0; j < launch.turns; ++j) {
        const std::int64_t end = first + (j + 1) * piece;
        WorkItem pass = run_of(p, chain, end, end, std::min(chain.horizon, piece));
        pass.tokens = 0;
        pass.state_out = launch.slots + static_cast<int>(i) * launch.turns + j;
        // run_of gives the caller's state where the warm-up reaches the start of the sequence.
        launch.state_pass.push_back(pass);
      }
    }
    const auto slots = static_cast<int>(n - 1) * launch.turns;
    if (n > 1) launch.scans.push_back({launch.slots, slots, static_cast<float>(factor)});
    launch.slots += slots;
  }
  sort_by_cost(launch.main);
  sort_by_cost(launch.state_pass);
  launch.estimated_seconds = seconds(launch.main, model, launch.segments) +
                             seconds(launch.state_pass, pass_model, launch.segments);
  if (launch.slots > 0) {
    launch.estimated_seconds +=
        CostModel::kLaunchSeconds +
        4.0 * launch.slots * static_cast<double>(launch.slot_bytes) / limits.bytes_per_second;
  }
}

Status check_options(const PlanOptions& options) {
  const std::string& forced = options.segments;
  if (!forced.empty() && forced != "plain" && forced != "warm" && forced != "carry") {
    return invalid_argument(
        fmt::format("segments: found '{}', expected plain, warm or carry", forced));
  }
  if (options.runs < 0 || options.runs > kMaxRuns) {
    return invalid_argument(
        fmt::format("runs: found {}, expected 0 (chosen) to {}", options.runs, kMaxRuns));
  }
  if (options.batch_invariant && (!forced.empty() || options.runs > 0)) {
    return invalid_argument(
        "batch_invariant: its runs depend on the length of a sequence alone; "
        "found segments or runs forced beside it");
  }
  return {};
}

}  // namespace

Status choose_segments(std::span<const AttentionProblem> problems, const DeviceLimits& limits,
                       const PlanOptions& options, LaunchPlan& launch) {
  TNL_TRY(check_options(options));
  const AttentionProblem& first = problems[launch.calls[0]];
  double bytes = 2.0 * kChunk * 2 * static_cast<double>(first.key_dim + first.value_dim);
  // dk and dv of one sequence and head run side by side and share two of the eight tensors; two
  // blocks a multiprocessor drift apart and do not.
  if (launch.calls.size() == 3 && launch.kernel != Kernel::kSweep64) bytes *= 5.0 / 6.0;
  const CostModel model(launch.kernel, launch.split, limits, launch.blocks_per_item, bytes);
  // No outputs, no turns: that pass runs as the single kernel does.
  const CostModel pass_model(launch.turns > 1 ? Kernel::kSweep64Single : launch.kernel,
                             launch.split, limits, launch.blocks_per_item / launch.turns, bytes);
  const double bits =
      options.horizon_bits > 0 ? options.horizon_bits : horizon_bits(first.dtype, launch.split);
  const std::vector<Chain> chains = chains_of(problems, launch, bits);
  const Cutter cutter{problems, chains, model, pass_model, limits};
  const std::string& forced = options.segments;
  const LaunchPlan empty = launch;
  std::int64_t longest = 0;
  for (const Chain& chain : chains) longest = std::max(longest, chain.chunks);

  LaunchPlan best = empty;
  const auto consider = [&](LaunchPlan candidate) {
    if (candidate.turns > 1 && candidate.calls.size() > 1 && !candidate.main.empty()) {
      const auto by_tokens = [](const WorkItem& a, const WorkItem& b) {
        return a.tokens < b.tokens;
      };
      const auto longest_run = std::ranges::max_element(candidate.main, by_tokens);
      candidate.estimated_seconds *= CostModel::pair_drift(
          static_cast<double>(longest_run->tokens) / kChunk, candidate.segments);
    }
    if (best.main.empty() || candidate.estimated_seconds < best.estimated_seconds) {
      best = std::move(candidate);
    }
  };
  const auto consider_carry = [&](std::int64_t length) {
    LaunchPlan candidate = empty;
    cutter.carry(length, candidate);
    consider(std::move(candidate));
  };
  if (options.batch_invariant && longest > kInvariantChunks) {
    consider_carry(kInvariantChunks);
    launch = std::move(best);
    return {};
  }
  if (forced.empty() || forced == "plain" || longest < 4) {
    LaunchPlan candidate = empty;
    cutter.plain(candidate);
    consider(std::move(candidate));
  }
  // Runs are as many as multiprocessors: a kernel of which one holds two blocks loses there.
  const bool cut = launch.kernel != Kernel::kSweep64 || !options.kernel.empty();
  if (forced != "plain" && (cut || !forced.empty()) && longest >= 4 && !options.batch_invariant) {
    std::vector<std::int64_t> counts;
    if (options.runs > 0) {
      counts.push_back(options.runs);
    } else {
      // Runs of pairs that follow one another cost more than the model knows.
      const std::int64_t most = launch.turns > 1 ? 3 : 4;
      for (std::int64_t share = 1; share <= most; ++share) {
        const std::int64_t runs = share * model.items_alone();
        if (runs > static_cast<std::int64_t>(chains.size())) counts.push_back(runs);
      }
      if (counts.empty() && !forced.empty()) {
        counts.push_back(2 * static_cast<std::int64_t>(chains.size()));
      }
    }
    for (std::int64_t runs : counts) {
      if (forced != "carry") {
        LaunchPlan candidate = empty;
        cutter.warm(runs, candidate);
        consider(std::move(candidate));
      }
      if (forced != "warm") consider_carry(cutter.carry_length(runs, launch.turns));
    }
    // With a run less a chain less is read twice, and two multiprocessors a run can keep up.
    const auto chain_count = static_cast<std::int64_t>(chains.size());
    const std::int64_t fewer = (model.items_alone() / chain_count - 1) * chain_count;
    if (launch.turns > 1 && options.runs == 0 && forced != "warm" && fewer > chain_count) {
      consider_carry(cutter.carry_length(fewer, launch.turns));
    }
  }
  launch = std::move(best);
  return {};
}

}  // namespace tnl::cuda
