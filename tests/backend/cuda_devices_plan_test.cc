// The plan of the CUDA backend for devices other than Hopper, and what a decode step accepts. No
// GPU.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <tuple>

#include "backend/cuda/plan.h"
#include "backend/cuda/step.h"

namespace tnl::cuda {
namespace {

struct Device {
  const char* name;
  DeviceLimits limits;
};
const Device kDevices[] = {
    {"A100", {80, 108, 166912, 167936, 1.4e12}},
    {"RTX 3090", {86, 82, 101376, 102400, 0.85e12}},
    {"RTX 4090", {89, 128, 101376, 102400, 0.92e12}},
    {"B200", {100, 148, 232448, 233472, 6e12}},
    {"RTX 5090", {120, 170, 101376, 102400, 1.6e12}},
};

// A call whose operands lie densely from address 4096 on; never run.
struct Call {
  std::vector<float> log_decay;
  std::vector<std::int64_t> cu_seqlens;
  AttentionProblem p;

  Call(std::int64_t N, std::int64_t T, std::int64_t H, std::int64_t K, std::int64_t V,
       DType dtype = DType::kBF16) {
    for (std::int64_t h = 0; h < H; ++h) {
      log_decay.push_back(static_cast<float>(
          -std::exp2(-8.0 * static_cast<double>(h + 1) / static_cast<double>(H))));
    }
    p.dtype = dtype;
    p.sequences = N;
    p.tokens = T;
    p.heads = H;
    p.key_dim = K;
    p.value_dim = V;
    p.log_decay = log_decay.data();
    const auto operand = [&](std::int64_t columns) {
      return AttentionOperand{reinterpret_cast<void*>(4096), T * H * columns, H * columns, columns};
    };
    p.q = p.k = operand(K);
    p.v = p.o = operand(V);
    p.state_in = p.state_out = {reinterpret_cast<void*>(8192), H * K * V, K * V, V, 1};
  }
  void pack(const std::vector<std::int64_t>& lengths) {
    cu_seqlens = {0};
    for (std::int64_t n : lengths) cu_seqlens.push_back(cu_seqlens.back() + n);
    p.cu_seqlens = cu_seqlens;
    p.sequences = static_cast<std::int64_t>(lengths.size());
    p.tokens = 0;
    for (AttentionOperand* x : {&p.q, &p.k, &p.v, &p.o}) x->stride_batch = 0;
  }
  Result<Plan> plan(const DeviceLimits& limits, const PlanOptions& options = {}) const {
    return plan_attention(std::span(&p, 1), limits, options);
  }
};

Kernel kernel_of(const Call& call, const DeviceLimits& limits) {
  const Result<Plan> plan = call.plan(limits);
  EXPECT_TRUE(plan.ok()) << plan.status().message();
  return plan.ok() ? plan->launches.at(0).kernel : Kernel::kGeneral;
}

// The runs of every sequence and head, put side by side, are its tokens, each once; the first
// starts from the caller's state, the last leaves it.
void expect_covers(const Call& call, const LaunchPlan& launch) {
  std::map<std::tuple<int, int>, std::vector<WorkItem>> chains;
  for (const WorkItem& item : launch.main) chains[{item.sequence, item.head}].push_back(item);
  ASSERT_EQ(chains.size(), static_cast<std::size_t>(call.p.sequences * call.p.heads));
  for (auto& [at, items] : chains) {
    const std::int64_t n = std::get<0>(at);
    const bool reverse = call.p.reverse;
    const auto first_token = [&](const WorkItem& item) {
      const std::int64_t row =
          reverse ? call.p.begin(n) + call.p.length(n) - item.row : item.row - call.p.begin(n);
      return row + std::int64_t{item.warm_chunks} * kChunk;
    };
    std::sort(items.begin(), items.end(), [&](const WorkItem& a, const WorkItem& b) {
      return first_token(a) < first_token(b);
    });
    std::int64_t token = 0;
    for (const WorkItem& item : items) {
      ASSERT_EQ(first_token(item), token) << "sequence " << n;
      ASSERT_GE(first_token(item) - std::int64_t{item.warm_chunks} * kChunk, 0);
      token += item.tokens;
    }
    EXPECT_EQ(token, call.p.length(n));
    EXPECT_EQ(items.front().state_in, kCallerState);
    EXPECT_EQ(items.back().state_out, kCallerState);
  }
}

TEST(CudaDevicesPlan, PicksTheKernelByDevice) {
  const Call call(2, 1000, 4, 128, 128);
  const Kernel hopper = kernel_of(call, DeviceLimits{});
  EXPECT_NE(hopper, Kernel::kGeneral);
  EXPECT_FALSE(is_row_kernel(hopper)) << kernel_name(hopper);
  for (const Device& device : kDevices) {
    SCOPED_TRACE(device.name);
    EXPECT_EQ(kernel_of(Call(2, 1000, 4, 64, 64), device.limits), Kernel::kMma64);
    EXPECT_EQ(kernel_of(Call(2, 1000, 4, 16, 200, DType::kF16), device.limits), Kernel::kMma64);
    EXPECT_EQ(kernel_of(call, device.limits), Kernel::kMma128);
    EXPECT_EQ(kernel_of(Call(2, 1000, 4, 256, 128), device.limits), Kernel::kMma256);
    EXPECT_EQ(kernel_of(Call(2, 1000, 4, 257, 128), device.limits), Kernel::kGeneral);
  }
}

TEST(CudaDevicesPlan, TakesFp32AndOddStridesInFp32Arithmetic) {
  for (const DeviceLimits& limits : {DeviceLimits{}, kDevices[0].limits, kDevices[1].limits}) {
    EXPECT_EQ(kernel_of(Call(2, 100, 4, 64, 64, DType::kF32), limits), Kernel::kFma64);
    EXPECT_EQ(kernel_of(Call(2, 100, 4, 100, 64, DType::kF32), limits), Kernel::kFma128);
    EXPECT_EQ(kernel_of(Call(2, 100, 4, 256, 64, DType::kF32), limits), Kernel::kFma256);
    EXPECT_EQ(kernel_of(Call(2, 100, 4, 300, 64, DType::kF32), limits), Kernel::kGeneral);
    EXPECT_EQ(kernel_of(Call(2, 100, 4, 60, 60), limits), Kernel::kFma64);
    Call shifted(2, 100, 4, 64, 64);
    shifted.p.v.data = reinterpret_cast<void*>(4098);
    EXPECT_EQ(kernel_of(shifted, limits), Kernel::kFma64);
  }
  // A row that the copy engine cannot end, but cp.async can.
  Call ragged(1, 100, 1, 64, 60);
  ragged.p.v.stride_token = ragged.p.o.stride_token = 64;
  EXPECT_EQ(kernel_of(ragged, DeviceLimits{}), Kernel::kMma64);
}

TEST(CudaDevicesPlan, FitsEveryDeviceAndCoversEachTokenOnce) {
  for (const Device& device : kDevices) {
    for (std::int64_t N : {1, 3, 40}) {
      for (std::int64_t T : {0, 1, 63, 64, 65, 1000, 50000}) {
        for (auto [K, V] : {std::pair<std::int64_t, std::int64_t>{64, 64},
                            {16, 200},
                            {128, 128},
                            {96, 256},
                            {256, 128},
                            {200, 8}}) {
          for (DType dtype : {DType::kBF16, DType::kF32}) {
            for (bool reverse : {false, true}) {
              Call call(N, T, 4, K, V, dtype);
              call.p.reverse = reverse;
              SCOPED_TRACE(testing::Message() << device.name << " " << N << "x" << T << "x4x" << K
                                              << "x" << V << (reverse ? " reverse" : ""));
              const Result<Plan> plan = call.plan(device.limits);
              ASSERT_TRUE(plan.ok()) << plan.status().message();
              ASSERT_EQ(plan->launches.size(), 1u);
              const LaunchPlan& launch = plan->launches[0];
              ASSERT_TRUE(is_row_kernel(launch.kernel)) << plan->describe();
              const SweepShape shape = sweep_shape(launch.kernel, launch.split, device.limits);
              EXPECT_LE(shape.shared_bytes + 1024, device.limits.shared_per_block);
              EXPECT_LE(shape.blocks_per_multiprocessor * (shape.shared_bytes + 1024),
                        device.limits.shared_per_multiprocessor);
              EXPECT_GE(shape.key_tiles * kTile, K);
              EXPECT_GE(launch.value_tiles * kTile, V);
              expect_covers(call, launch);
            }
          }
        }
      }
    }
  }
}

TEST(CudaDevicesPlan, CoversPackedSequences) {
  for (const Device& device : kDevices) {
    for (const char* segments : {"", "plain", "warm", "carry"}) {
      SCOPED_TRACE(testing::Message() << device.name << " " << segments);
      Call call(1, 1, 4, 128, 128);
      call.pack({1, 0, 63, 20000, 64, 5000});
      PlanOptions options;
      options.segments = segments;
      const Result<Plan> plan = call.plan(device.limits, options);
      ASSERT_TRUE(plan.ok()) << plan.status().message();
      const LaunchPlan& launch = plan->launches[0];
      if (launch.segments == Segments::kCarry) {
        EXPECT_GT(launch.slots, 0);
        for (const WorkItem& item : launch.state_pass) EXPECT_LT(item.state_out, launch.slots);
      }
      expect_covers(call, launch);
    }
  }
}

TEST(CudaDevicesPlan, EverySplitOfEveryKernelFitsTheSmallestDevice) {
  for (Kernel kernel : kRowKernels) {
    for (Split split : {Split::kNone, Split::kState, Split::kAll}) {
      // The tables of a head are static shared memory, beside the 1 KiB that the system takes.
      EXPECT_LE(sweep_shape(kernel, split).shared_bytes + 1024, 99u * 1024) << kernel_name(kernel);
    }
  }
}

TEST(CudaDevicesPlan, CanBeForced) {
  PlanOptions options;
  for (Kernel kernel : kRowKernels) {
    options.kernel = kernel_name(kernel);
    const Result<Plan> plan = Call(1, 100, 2, 64, 64).plan(DeviceLimits{}, options);
    ASSERT_TRUE(plan.ok()) << plan.status().message();
    EXPECT_EQ(plan->launches[0].kernel, kernel);
    EXPECT_EQ(plan->describe().find(options.kernel), 0u) << plan->describe();
  }
  const auto sentence = [&](const Call& call, const DeviceLimits& limits) {
    const Result<Plan> plan = call.plan(limits, options);
    return plan.ok() ? "accepted" : plan.status().message();
  };
  options.kernel = "mma64";
  EXPECT_EQ(sentence(Call(1, 100, 2, 65, 64), DeviceLimits{}),
            "kernel 'mma64': found K = 65, expected at most 64");
  EXPECT_NE(sentence(Call(1, 100, 2, 64, 64, DType::kF32), DeviceLimits{}).find("bf16 or f16"),
            std::string::npos);
  EXPECT_NE(sentence(Call(1, 100, 2, 64, 64), {75, 46, 65536, 65536, 4e11}).find("8.0 or more"),
            std::string::npos);
  options.kernel = "sweep64";
  EXPECT_NE(sentence(Call(1, 100, 2, 64, 64), kDevices[0].limits).find("9.x"), std::string::npos);
  options.kernel = "mma63";
  EXPECT_NE(sentence(Call(1, 100, 2, 64, 64), DeviceLimits{}).find("found 'mma63'"),
            std::string::npos);
}

TEST(CudaStep, NamesWhatItDoesNotAccept) {
  const auto sentence = [](std::int64_t tokens, const AttentionStep& step,
                           const StepTuning& tuning = {}, DType dtype = DType::kBF16) {
    const Status status = check_step(Call(2, tokens, 4, 64, 64, dtype).p, step, tuning);
    return status.ok() ? std::string("accepted") : std::string(status.message());
  };
  for (std::int64_t tokens : {0, 1, 8}) EXPECT_EQ(sentence(tokens, {}), "accepted");
  EXPECT_EQ(sentence(9, {}),
            "attention step: found 9 tokens a sequence, expected 0 to 8, not packed");
  EXPECT_EQ(sentence(1, {}, {}, DType::kF64),
            "attention step on a GPU: found f64, expected f32, bf16 or f16");
  EXPECT_EQ(sentence(1, {}, {.columns = 48}),
            "attention step: found 48 columns a block, expected 0 (chosen), 16, 32, 64 or 128");
  AttentionStep step;
  step.replay.tokens = 9;
  EXPECT_EQ(sentence(1, step), "attention step: found 9 tokens to replay, expected 0 to 8");
  step.replay.tokens = 3;
  EXPECT_EQ(sentence(1, step),
            "attention step: tokens to replay, but no array that says how many are accepted");
  const std::int32_t accepted = 2;
  step.replay.accepted = &accepted;
  EXPECT_EQ(sentence(0, step), "accepted");
}

TEST(CudaStep, NarrowsItsBlocksForSmallBatches) {
  const auto columns = [](std::int64_t N, std::int64_t H, std::int64_t V) {
    return choose_step_columns(Call(N, 1, H, 128, V).p);
  };
  EXPECT_EQ(columns(1, 16, 128), 16);
  EXPECT_EQ(columns(16, 16, 128), 32);
  EXPECT_EQ(columns(64, 16, 128), 128);
  EXPECT_EQ(columns(1024, 16, 64), 64);  // no wider than V
  EXPECT_EQ(columns(1024, 16, 8), 16);
  EXPECT_EQ(columns(1024, 16, 200), 128);
}

}  // namespace
}  // namespace tnl::cuda
