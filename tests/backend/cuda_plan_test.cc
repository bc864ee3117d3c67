// Plans of the CUDA backend, without a GPU: each fits the device and covers each token once.
#include "backend/cuda/plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include <fmt/format.h>

#include "backend/cuda/cost_model.h"

namespace tnl::cuda {
namespace {

// A call on made-up addresses: plans look at shapes, strides and alignment only.
struct Call {
  std::vector<std::int64_t> cu_seqlens;
  std::vector<float> log_decay;
  std::vector<AttentionProblem> problems;
};

struct Shape {
  std::int64_t B, T;
  int H, K, V;
  double slopes = 1;
  bool backward = false, states = false;
  std::vector<std::int64_t> lengths = {};  // packed

  std::string name() const {
    return fmt::format("{}x{}x{}x{}x{} slopes x{}{}{}{}", B, T, H, K, V, slopes,
                       backward ? " backward" : "", states ? " states" : "",
                       lengths.empty() ? "" : fmt::format(" packed {}", lengths.size()));
  }
};

AttentionOperand operand(const Shape& s, int columns) {
  const std::int64_t token = std::int64_t{s.H} * columns;
  return {reinterpret_cast<void*>(0x10000), s.lengths.empty() ? s.T * token : 0, token, columns};
}

Call call_of(const Shape& s) {
  Call call;
  for (int h = 0; h < s.H; ++h) {
    call.log_decay.push_back(static_cast<float>(-std::exp2(-8.0 * (h + 1) / s.H) * s.slopes));
  }
  AttentionProblem p;
  p.dtype = DType::kBF16;
  p.sequences = s.B;
  p.tokens = s.T;
  if (!s.lengths.empty()) {
    call.cu_seqlens = {0};
    for (std::int64_t n : s.lengths) call.cu_seqlens.push_back(call.cu_seqlens.back() + n);
    p.sequences = static_cast<std::int64_t>(s.lengths.size());
    p.tokens = 0;
  }
  p.heads = s.H;
  p.key_dim = s.K;
  p.value_dim = s.V;
  p.q = p.k = operand(s, s.K);
  p.v = p.o = operand(s, s.V);
  if (s.states) {
    const std::int64_t size = std::int64_t{s.K} * s.V;
    p.state_in = p.state_out = {reinterpret_cast<void*>(0x20000), s.H * size, size, s.V, 1};
  }
  call.problems = {p};
  if (s.backward) {
    AttentionProblem dq = p, dk = p, dv = p;
    dq.key_dim = dk.key_dim = s.V;
    dq.value_dim = dk.value_dim = s.K;
    dq.q = dq.k = dk.q = dk.k = p.v;
    dq.v = dq.o = dk.v = dk.o = p.q;
    dk.reverse = dv.reverse = true;
    call.problems = {dq, dk, dv};
  }
  for (AttentionProblem& x : call.problems) {
    x.log_decay = call.log_decay.data();
    x.cu_seqlens = call.cu_seqlens;
  }
  return call;
}

// Where a run begins and ends, in tokens of its sequence in the direction of its sweep.
struct Run {
  std::int64_t warm_begin, begin, end;
};

Run run_of(const AttentionProblem& p, const WorkItem& item) {
  const std::int64_t first = p.begin(item.sequence);
  const std::int64_t start =
      p.reverse ? first + p.length(item.sequence) - item.row : item.row - first;
  const std::int64_t warm = std::int64_t{item.warm_chunks} * kChunk;
  return {start, start + warm, start + warm + item.tokens};
}

void expect_covered(const Call& call, const LaunchPlan& launch) {
  using Chain = std::tuple<int, int, int>;  // call, sequence, head
  std::map<Chain, std::map<std::int64_t, const WorkItem*>> chains;
  for (const WorkItem& item : launch.main) {
    const AttentionProblem& p = call.problems[launch.calls[item.call]];
    const Run run = run_of(p, item);
    const Chain chain{item.call, item.sequence, item.head};
    ASSERT_TRUE(chains[chain].emplace(run.begin, &item).second);
    ASSERT_EQ(item.batch, p.cu_seqlens.empty() ? item.sequence : 0);
    ASSERT_GE(run.warm_begin, 0);
  }
  const AttentionProblem& first = call.problems[launch.calls[0]];
  ASSERT_EQ(chains.size(), launch.calls.size() * first.sequences * first.heads);
  std::set<int> slots_read, slots_written;
  for (const auto& [chain, items] : chains) {
    const auto [which, sequence, head] = chain;
    const AttentionProblem& p = call.problems[launch.calls[which]];
    std::int64_t at = 0;
    for (const auto& [begin, item] : items) {
      const Run run = run_of(p, *item);
      ASSERT_EQ(run.begin, at);
      at = run.end;
      const bool last = at == p.length(sequence);
      ASSERT_TRUE(last || run.end % kChunk == 0);
      ASSERT_EQ(item->state_out, last && p.state_out.data ? kCallerState : kNoState);
      if (item->state_in >= 0) {
        ASSERT_TRUE(slots_read.insert(item->state_in).second);
      } else {
        ASSERT_EQ(item->state_in, run.warm_begin == 0 && p.state_in.data ? kCallerState : kNoState);
        // Without a state the run starts at the beginning, or what lies before is forgotten.
        const double halvings = -log2_decay(p.log_decay[head]) * item->warm_chunks * kChunk;
        const double bits = launch.split == Split::kAll ? 24 : 20;
        ASSERT_TRUE(run.warm_begin == 0 || halvings >= bits) << halvings;
      }
    }
    ASSERT_EQ(at, p.length(sequence));
  }
  for (const WorkItem& item : launch.state_pass) {
    ASSERT_EQ(item.tokens, 0);
    ASSERT_TRUE(slots_written.insert(item.state_out).second);
  }
  std::set<int> scanned;
  for (const ScanItem& scan : launch.scans) {
    for (int i = 0; i < scan.count; ++i) {
      ASSERT_TRUE(scanned.insert(scan.first_slot + i).second);
    }
  }
  // Where blocks take turns a run's state is made in pieces, of which the last one is read.
  ASSERT_EQ(static_cast<int>(slots_written.size()), launch.slots);
  ASSERT_EQ(slots_read.size() * launch.turns, slots_written.size());
  ASSERT_TRUE(std::includes(slots_written.begin(), slots_written.end(), slots_read.begin(),
                            slots_read.end()));
  ASSERT_EQ(slots_written, scanned);
}

void expect_fits(const Call& call, const LaunchPlan& launch, const DeviceLimits& limits) {
  const SweepShape shape = sweep_shape(launch.kernel, launch.split);
  ASSERT_LE(shape.shared_bytes, limits.shared_per_block);
  // Every block takes 1 KiB of the multiprocessor's shared memory beside its own.
  ASSERT_LE(shape.blocks_per_multiprocessor * (shape.shared_bytes + 4096 + 1024),
            limits.shared_per_multiprocessor + 4096);
  ASSERT_LE(shape.threads * shape.blocks_per_multiprocessor, 2048);
  for (int c : launch.calls) {
    const AttentionProblem& p = call.problems[c];
    ASSERT_LE(p.key_dim, kTile * shape.key_tiles);
    ASSERT_LE(p.value_dim, kTile * launch.value_tiles);
    ASSERT_LT(kTile * (launch.value_tiles - shape.workers), p.value_dim);
  }
  ASSERT_EQ(launch.value_tiles * launch.turns, launch.blocks_per_item * shape.workers);
  if (!launch.main.empty()) {
    ASSERT_GT(launch.estimated_seconds, 0);
  }
}

void expect_good(const Shape& s, const PlanOptions& options = {}) {
  SCOPED_TRACE(s.name());
  const Call call = call_of(s);
  const DeviceLimits limits;
  const Result<Plan> plan = plan_attention(call.problems, limits, options);
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  SCOPED_TRACE(plan->describe());
  std::set<int> calls;
  for (const LaunchPlan& launch : plan->launches) {
    for (int c : launch.calls) ASSERT_TRUE(calls.insert(c).second);
    ASSERT_NE(launch.kernel, Kernel::kGeneral);
    ASSERT_NO_FATAL_FAILURE(expect_fits(call, launch, limits));
    ASSERT_NO_FATAL_FAILURE(expect_covered(call, launch));
  }
  ASSERT_EQ(calls.size(), call.problems.size());
}

TEST(CudaPlan, CoversEachTokenOnce) {
  for (auto [K, V] : {std::pair{64, 64}, {128, 128}, {256, 128}, {96, 72}, {16, 256}}) {
    for (std::int64_t B : {0, 1, 3, 16}) {
      for (int H : {1, 4, 16, 20}) {
        for (std::int64_t T : {0, 1, 64, 333, 2048, 8192, 100001}) {
          for (double slopes : {1.0, 0.1, 0.0}) {
            for (bool backward : {false, true}) {
              ASSERT_NO_FATAL_FAILURE(
                  expect_good({B, T, H, K, V, slopes, backward, (B + H) % 2 == 0, {}}));
            }
          }
        }
      }
    }
  }
}

TEST(CudaPlan, CoversPackedSequences) {
  std::vector<std::int64_t> many;
  for (int i = 0; i < 300; ++i) many.push_back((i * 7919) % 3000);
  for (const std::vector<std::int64_t>& lengths :
       {std::vector<std::int64_t>{5}, {0, 0, 1}, {1, 0, 63, 64, 65, 20000, 7}, {0}, many}) {
    for (int H : {1, 16}) {
      for (double slopes : {1.0, 0.0}) {
        for (bool backward : {false, true}) {
          ASSERT_NO_FATAL_FAILURE(
              expect_good({1, 0, H, 128, 128, slopes, backward, H == 16, lengths}));
        }
      }
    }
  }
}

TEST(CudaPlan, CoversEachTokenOnceWhereForced) {
  for (Kernel kernel : kSweeps) {
    const int K = kTile * sweep_shape(kernel, Split::kState).key_tiles;
    for (const char* segments : {"plain", "warm", "carry"}) {
      for (int runs : {0, 1, 2, 7, 64, 1000}) {
        for (Split split : {Split::kNone, Split::kState, Split::kAll}) {
          PlanOptions options;
          options.kernel = kernel_name(kernel);
          options.segments = segments;
          options.runs = runs;
          options.split = split;
          ASSERT_NO_FATAL_FAILURE(expect_good({2, 5000, 3, K, 128, 0.3, false, true, {}}, options));
        }
      }
    }
  }
}

std::vector<std::tuple<int, int, int>> runs_of_sequence_0(const Shape& s) {
  PlanOptions options;
  options.batch_invariant = true;
  const Call call = call_of(s);
  const Result<Plan> plan = plan_attention(call.problems, {}, options);
  EXPECT_TRUE(plan.ok());
  std::vector<std::tuple<int, int, int>> runs;
  for (const WorkItem& item : plan->launches[0].main) {
    if (item.sequence == 0) runs.emplace_back(item.head, item.row, item.tokens);
  }
  std::sort(runs.begin(), runs.end());
  return runs;
}

TEST(CudaPlan, BatchInvariantRunsDependOnTheLengthAlone) {
  for (std::int64_t T : {100, 8192, 8193, 50000}) {
    const auto alone = runs_of_sequence_0({1, T, 4, 128, 128, 1, false, false, {}});
    EXPECT_EQ(alone.size(), 4u * ((T + 8191) / 8192));
    EXPECT_EQ(alone, runs_of_sequence_0({9, T, 4, 128, 128, 1, false, false, {}}));
    EXPECT_EQ(alone, runs_of_sequence_0({1, 0, 4, 128, 128, 1, false, false, {T, 70000, 3}}));
  }
  ASSERT_NO_FATAL_FAILURE([] {
    PlanOptions options;
    options.batch_invariant = true;
    expect_good({2, 50000, 4, 128, 128, 0, true, true, {}}, options);
  }());
}

// The shapes of the tables in docs/kernels: few heads must fill the device.
TEST(CudaPlan, FillsTheDevice) {
  for (const Shape& s : {Shape{4, 8192, 16, 128, 128},
                         {1, 32768, 16, 128, 128},
                         {1, 131072, 4, 128, 128},
                         {4, 8192, 16, 256, 128}}) {
    for (double slopes : {1.0, 1e-5}) {
      SCOPED_TRACE(s.name());
      Shape with = s;
      with.slopes = slopes;
      const Call call = call_of(with);
      const Result<Plan> plan = plan_attention(call.problems, {});
      ASSERT_TRUE(plan.ok());
      const LaunchPlan& launch = plan->launches[0];
      EXPECT_GE(launch.main.size() * launch.blocks_per_item, 96u) << plan->describe();
    }
  }
}

// Measured on an H100, first-layer slopes (docs/kernels/segments.md).
TEST(CudaPlan, ChoosesWhatWasMeasuredToBeFastest) {
  const auto kernel = [](const Shape& s) {
    const Call call = call_of(s);
    const Result<Plan> plan = plan_attention(call.problems, {});
    return plan.ok() ? plan->launches[0].kernel : Kernel::kGeneral;
  };
  for (const auto& [batch, tokens] :
       {std::pair{64, 8192}, {16, 32768}, {128, 4096}, {512, 1024}, {1, 131072}, {1, 524288}}) {
    EXPECT_EQ(kernel({batch, tokens, 16, 128, 128, 1, true, false, {}}), Kernel::kSweep128)
        << batch << "x" << tokens;
  }
  EXPECT_EQ(kernel({4, 8192, 16, 128, 128, 1, true, false, {}}), Kernel::kSweep128Single);
  EXPECT_EQ(kernel({4, 8192, 16, 128, 128, 1, false, false, {}}), Kernel::kSweep128Single);
  EXPECT_EQ(kernel({1, 32768, 16, 128, 128, 1, false, false, {}}), Kernel::kSweep128Single);
  EXPECT_EQ(kernel({4, 8192, 32, 128, 128, 1, false, false, {}}), Kernel::kSweep128);
}

// Two blocks a multiprocessor: a small call is one wave. Neither longer sequences nor states.
TEST(CudaPlan, SequencesOfOneChunkHaveTheirKernel) {
  const auto kernel = [](const Shape& s) {
    const Call call = call_of(s);
    const Result<Plan> plan = plan_attention(call.problems, {});
    return plan.ok() ? plan->launches[0].kernel : Kernel::kGeneral;
  };
  EXPECT_EQ(kernel({16, 64, 16, 128, 128, 1, false, false, {}}), Kernel::kChunk128);
  EXPECT_EQ(kernel({16, 40, 16, 96, 128, 1, true, false, {}}), Kernel::kChunk128);
  EXPECT_EQ(kernel({1, 0, 16, 128, 128, 1, false, false, {64, 0, 7}}), Kernel::kChunk128);
  EXPECT_NE(kernel({16, 65, 16, 128, 128, 1, false, false, {}}), Kernel::kChunk128);
  EXPECT_NE(kernel({16, 64, 16, 128, 128, 1, false, true, {}}), Kernel::kChunk128);
  EXPECT_EQ(sweep_shape(Kernel::kChunk128, Split::kAll, DeviceLimits{}).blocks_per_multiprocessor,
            2);
}

TEST(CudaPlan, NamesWhatIsWrong) {
  const Call call = call_of({2, 1000, 4, 128, 128});
  const auto message = [&](const PlanOptions& options) {
    const Result<Plan> plan = plan_attention(call.problems, {}, options);
    return plan.ok() ? std::string("ok") : plan.status().message();
  };
  PlanOptions o;
  o.kernel = "sweep64";
  EXPECT_NE(message(o).find("found K = 128, expected at most 64"), std::string::npos);
  o.kernel = "chunk128";
  EXPECT_NE(message(o).find("sequences of at most 64 tokens"), std::string::npos);
  o.kernel = "fast";
  EXPECT_NE(message(o).find("found 'fast', expected sweep64"), std::string::npos);
  o = {};
  o.segments = "hot";
  EXPECT_NE(message(o).find("found 'hot', expected plain, warm or carry"), std::string::npos);
  o = {};
  o.runs = -1;
  EXPECT_NE(message(o).find("runs: found -1"), std::string::npos);
  o.runs = 3;
  o.batch_invariant = true;
  EXPECT_NE(message(o).find("batch_invariant"), std::string::npos);
}

// Blocks that run at once share the bandwidth; a second wave costs its own time.
TEST(CudaPlan, CostModelCountsWaves) {
  const DeviceLimits limits;
  const CostModel model(Kernel::kSweep128, Split::kState, limits, 1, 65536);
  const std::vector<double> one(1, 100.0), wave(132, 100.0), two(264, 100.0);
  const double alone = model.seconds(one), full = model.seconds(wave);
  EXPECT_NEAR(full, 132 * 100 * 65536 / limits.bytes_per_second, 0.05 * full);
  EXPECT_LT(alone, full);
  EXPECT_NEAR(model.seconds(two), 2 * full, 0.05 * full);
  std::vector<double> straggler = wave;
  straggler.push_back(100.0);
  EXPECT_NEAR(model.seconds(straggler), full + alone, 0.05 * full);
}

}  // namespace
}  // namespace tnl::cuda
