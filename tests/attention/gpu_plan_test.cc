// Plans for a GPU are pure data: made, printed and checked here without one.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>

#include "attention/attention_case.h"
#include "attention/lower.h"
#include "attention/plan.h"
#include "backend/cuda/attention_plan.h"
#include "support/require.h"

namespace tnl::test {
namespace {

DeviceProperties gpu(int capability = 90) {
  DeviceProperties properties{.kind = DeviceKind::kCuda, .name = "cuda:0", .cpu_target = ""};
  properties.gpu.capability = capability;
  return properties;
}

alignas(256) char memory[4096];  // nothing reads it

// A call whose tensors are never touched.
struct Call {
  std::vector<float> log_decay;
  std::vector<std::int64_t> cu_seqlens;
  AttentionArgs args;
  AttentionGradients gradients;

  Call(std::int64_t batch, std::int64_t tokens, std::int64_t heads, std::int64_t key_dim,
       std::int64_t value_dim, DType dtype = DType::kBF16)
      : log_decay(heads, -0.01f) {
    const auto rows = [&](std::int64_t width) {
      return TensorView::contiguous(memory, dtype, {batch, tokens, heads, width});
    };
    args.q = args.k = rows(key_dim);
    args.v = args.o = rows(value_dim);
    args.log_decay = log_decay;
    gradients.d_o = gradients.dv = args.v;
    gradients.dq = gradients.dk = args.q;
  }
  void pack(std::vector<std::int64_t> offsets) {
    cu_seqlens = std::move(offsets);
    args.cu_seqlens = cu_seqlens;
    for (TensorView* view : {&args.q, &args.k, &args.v, &args.o}) {
      *view = TensorView::contiguous(memory, view->dtype,
                                     {cu_seqlens.back(), view->shape[2], view->shape[3]});
    }
    gradients.d_o = gradients.dv = args.v;
    gradients.dq = gradients.dk = args.q;
  }
  TensorView state() {
    const std::int64_t sequences =
        cu_seqlens.empty() ? args.q.shape[0] : static_cast<std::int64_t>(cu_seqlens.size()) - 1;
    const int last = args.q.rank - 1;
    return TensorView::contiguous(memory, DType::kF32,
                                  {sequences, static_cast<std::int64_t>(log_decay.size()),
                                   args.q.shape[last], args.v.shape[last]});
  }
};

std::string error_of(const Call& call, const AttentionPlanOptions& options = {}) {
  const auto plan = plan_attention(call.args, gpu(), options);
  return plan.ok() ? "" : plan.status().message();
}

TEST(PlanForGpu, PicksAndPrints) {
  const auto text = [](const Call& call, const AttentionPlanOptions& options = {}) {
    return take(plan_attention(call.args, gpu(), options)).describe();
  };
  EXPECT_TRUE(text(Call(4, 8192, 32, 128, 128)).starts_with("forward: sweep128 plain"))
      << text(Call(4, 8192, 32, 128, 128));
  EXPECT_TRUE(text(Call(4, 8192, 32, 64, 64)).starts_with("forward: sweep64 plain"));
  // 64 sequences and heads on 132 multiprocessors: two for each.
  EXPECT_TRUE(text(Call(4, 8192, 16, 64, 64)).starts_with("forward: sweep64-pair plain"));
  EXPECT_EQ(text(Call(4, 8192, 16, 64, 64), {.batch_invariant = true}).find("pair"),
            std::string::npos);
  EXPECT_TRUE(text(Call(4, 8192, 32, 256, 128)).starts_with("forward: sweep256"));
  EXPECT_TRUE(text(Call(1, 100, 2, 128, 128, DType::kF32)).starts_with("forward: fma128"));
  EXPECT_TRUE(text(Call(1, 100, 2, 17, 33)).starts_with("forward: fma64"));
  EXPECT_TRUE(text(Call(1, 100, 2, 500, 33)).starts_with("forward: general"));
  EXPECT_TRUE(
      text(Call(4, 8192, 32, 128, 128), {.kernel = "general"}).starts_with("forward: general"));
  EXPECT_NE(text(Call(1, 8192, 2, 128, 128), {.segments = "carry", .runs = 7}).find("carry"),
            std::string::npos);
  EXPECT_NE(text(Call(1, 8192, 2, 128, 128), {.precision = "precise"}).find("precise"),
            std::string::npos);
}

// What an H100 hides behind its memory and an H200 does not.
TEST(PlanForGpu, KnowsFasterMemory) {
  const auto plan = [](double bytes_per_second, const Call& call) {
    DeviceProperties device = gpu();
    device.gpu.bytes_per_second = bytes_per_second;
    return take(plan_attention(call.args, device)).describe();
  };
  constexpr double kH100 = 2.97e12, kH200 = 4.25e12;
  for (const std::int64_t tokens : {32768, 131072, 524288}) {
    const Call call(1, tokens, 16, 64, 64);
    EXPECT_TRUE(plan(kH100, call).starts_with("forward: sweep64-pair")) << tokens;
    EXPECT_TRUE(plan(kH200, call).starts_with("forward: sweep64-single")) << tokens;
  }
  Call first_layer(2, 16384, 8, 128, 128);
  for (int h = 0; h < 8; ++h) first_layer.log_decay[h] = -std::exp2(-1.0f - h);
  // Carried in 256 runs it took 128 us, warmed up in 130 it took 99.
  EXPECT_TRUE(plan(kH200, first_layer).starts_with("forward: sweep128 warm"));
}

TEST(PlanForGpu, RefusesWithASentence) {
  EXPECT_EQ(error_of(Call(1, 2, 2, 4, 4, DType::kF64)),
            "q: found f64, expected f32, bf16 or f16 on the device 'cuda:0'");
  const Call call(1, 640, 2, 64, 64);
  EXPECT_TRUE(error_of(call, {.kernel = "avx2"}).starts_with("kernel: found 'avx2', expected "))
      << error_of(call, {.kernel = "avx2"});
  EXPECT_EQ(error_of(call, {.precision = "exact"}),
            "options.precision: found 'exact', expected fast, state or precise");
  EXPECT_TRUE(
      error_of(call, {.segments = "many"}).starts_with("segments: found 'many', expected "));
  EXPECT_EQ(error_of(call, {.runs = -1}), "options.runs: found -1, expected 0 (chosen) to 1048576");
  EXPECT_EQ(error_of(call, {.runs = 3, .batch_invariant = true}),
            "options.batch_invariant: found together with segments or runs, expected one of the "
            "two");
  EXPECT_TRUE(error_of(Call(1, 4, 1, 60, 60), {.kernel = "sweep64"})
                  .starts_with("kernel 'sweep64': the call needs "));
  EXPECT_TRUE(error_of(Call(1, 4, 1, 128, 64), {.kernel = "sweep64"})
                  .starts_with("kernel 'sweep64': found K = 128, expected at most 64"));
  EXPECT_NE(error_of(Call(1, 1, 1, 9000, 8)).find("found K = 9000"), std::string::npos);
  Call shifted(1, 640, 2, 64, 64);
  shifted.args.k.data = memory + 2;
  EXPECT_TRUE(error_of(shifted, {.kernel = "sweep64"}).starts_with("kernel 'sweep64': the call"));
  EXPECT_EQ(error_of(shifted), "");  // another kernel takes it
}

// The sentence with which a plan for `planned` is refused for `call`.
std::string mismatch(const Call& planned, const Call& call,
                     const AttentionPlanOptions& options = {}) {
  const AttentionPlan plan = take(plan_attention(planned.args, gpu(), options));
  const AttentionProblem problem = attention::lower_forward(call.args);
  return attention::check_plan({&problem, 1}, plan, gpu()).message();
}

TEST(PlanForGpu, HoldsForItsArgumentsOnly) {
  const Call call(2, 640, 2, 64, 64);
  EXPECT_EQ(mismatch(call, call), "");
  Call slower = call;
  slower.log_decay[1] = -0.001f;
  slower.args.log_decay = slower.log_decay;
  EXPECT_EQ(mismatch(call, slower),
            "plan: found one for other decays, expected one for these arguments");
  EXPECT_TRUE(
      mismatch(call, Call(2, 641, 2, 64, 64)).starts_with("plan: found one for other shapes"));
  Call shifted = call;
  shifted.args.log_decay = shifted.log_decay;
  shifted.args.v.data = memory + 2;
  EXPECT_TRUE(mismatch(call, shifted).starts_with("plan: found one for other strides"));
  Call packed(1, 1280, 2, 64, 64), other(1, 1280, 2, 64, 64);
  packed.pack({0, 640, 1280});
  other.pack({0, 600, 1280});
  EXPECT_TRUE(mismatch(packed, other).starts_with("plan: found one for other cu_seqlens"));
  Call with_state = call;
  with_state.args.log_decay = with_state.log_decay;
  with_state.args.state_in = with_state.state();
  EXPECT_TRUE(mismatch(call, with_state).starts_with("plan: found one for other shapes or states"));

  const DeviceProperties cpu{.kind = DeviceKind::kCpu, .name = "cpu", .cpu_target = "generic"};
  const AttentionProblem problem = attention::lower_forward(call.args);
  const AttentionPlan gpu_plan = take(plan_attention(call.args, gpu()));
  const AttentionPlan cpu_plan = take(plan_attention(call.args, cpu));
  EXPECT_EQ(attention::check_plan({&problem, 1}, gpu_plan, cpu).message(),
            "plan: found one for a GPU, expected one for the device 'cpu'");
  EXPECT_EQ(attention::check_plan({&problem, 1}, cpu_plan, gpu()).message(),
            "plan: found one for the CPU, expected one for the device 'cuda:0'");
}

// Where blocks of a call read a state that others of it write, the state is kept apart.
TEST(PlanForGpu, KeepsStatesThatAreOverwritten) {
  Call call(1, 64000, 2, 128, 128);
  call.args.state_in = call.args.state_out = call.state();
  const std::size_t state = 2 * 128 * 128 * sizeof(float);
  const auto bytes = [&](const char* segments) {
    return take(plan_attention(call.args, gpu(), {.segments = segments, .runs = 8}))
        .workspace_bytes;
  };
  Call apart = call;
  apart.args.log_decay = apart.log_decay;
  apart.args.state_out.data = memory + 1024;
  for (const char* segments : {"plain", "warm", "carry"}) {
    const std::size_t separate =
        take(plan_attention(apart.args, gpu(), {.segments = segments, .runs = 8})).workspace_bytes;
    EXPECT_EQ(bytes(segments), separate + (std::string(segments) == "plain" ? 0 : state))
        << segments;
  }
  // dv writes d_state_in over the d_state_out that dk reads.
  call.args.state_out = {};
  call.args.state_in = {};
  call.gradients.d_state_in = call.gradients.d_state_out = call.state();
  const AttentionPlan plan =
      take(plan_attention_backward(call.args, call.gradients, gpu(), {.segments = "plain"}));
  const auto* details = dynamic_cast<const cuda::PlanDetails*>(plan.details.get());
  ASSERT_NE(details, nullptr);
  EXPECT_EQ(details->kept_states, std::vector<int>{1});
}

// Every token of every sequence and head of every call is the output of exactly one run.
void expect_covered(const Call& call, bool backward, const AttentionPlanOptions& options) {
  const auto result = backward ? plan_attention_backward(call.args, call.gradients, gpu(), options)
                               : plan_attention(call.args, gpu(), options);
  const AttentionPlan plan = take(result);
  const auto* details = dynamic_cast<const cuda::PlanDetails*>(plan.details.get());
  ASSERT_NE(details, nullptr);
  std::vector<AttentionProblem> problems;
  if (backward) {
    for (const auto& p : attention::lower_backward(call.args, call.gradients))
      problems.push_back(p);
  } else {
    problems.push_back(attention::lower_forward(call.args));
  }
  std::vector<int> seen(problems.size());
  for (const cuda::LaunchPlan& launch : details->launches.launches) {
    for (const int i : launch.calls) ++seen[i];
    if (launch.kernel == cuda::Kernel::kGeneral) continue;
    EXPECT_LE(cuda::sweep_shape(launch.kernel, launch.split).shared_bytes,
              gpu().gpu.shared_per_block);
    std::map<std::tuple<int, int, int>, std::vector<std::pair<std::int64_t, std::int64_t>>> runs;
    for (const cuda::WorkItem& item : launch.main) {
      const AttentionProblem& p = problems[launch.calls[item.call]];
      const std::int64_t warm = item.warm_chunks * std::int64_t{cuda::kChunk};
      const std::int64_t first = p.reverse ? item.row - warm - item.tokens : item.row + warm;
      runs[{item.call, item.sequence, item.head}].push_back({first, first + item.tokens});
    }
    EXPECT_EQ(runs.size(), launch.calls.size() * problems[0].sequences * problems[0].heads);
    for (auto& [key, spans] : runs) {
      std::sort(spans.begin(), spans.end());
      const auto n = std::get<1>(key);
      std::int64_t at = problems[0].begin(n);
      for (const auto& [first, last] : spans) {
        ASSERT_EQ(first, at);
        at = last;
      }
      ASSERT_EQ(at, problems[0].begin(n) + problems[0].length(n));
    }
  }
  EXPECT_EQ(seen, std::vector<int>(problems.size(), 1));
}

TEST(PlanForGpu, CoversEveryTokenOnce) {
  const AttentionPlanOptions forced[] = {{},
                                         {.segments = "warm", .runs = 7},
                                         {.segments = "carry", .runs = 64},
                                         {.batch_invariant = true}};
  const std::int64_t widths[][2] = {{64, 64}, {128, 128}, {256, 128}, {40, 72}, {96, 256}};
  for (const std::int64_t batch : {1, 3, 16}) {
    for (const std::int64_t tokens : {0, 1, 63, 64, 65, 1000, 4096, 70001}) {
      for (const std::int64_t heads : {1, 5, 16}) {
        for (const auto& [key_dim, value_dim] : widths) {
          Call call(batch, tokens, heads, key_dim, value_dim);
          for (std::int64_t h = 0; h < heads; ++h) {
            call.log_decay[h] = h == 0 ? 0.0f : -std::exp2(-static_cast<float>(h));
          }
          for (const AttentionPlanOptions& options : forced) {
            for (const bool backward : {false, true}) {
              SCOPED_TRACE(testing::Message()
                           << batch << "x" << tokens << "x" << heads << "x" << key_dim << "x"
                           << value_dim << " " << options.segments << " backward " << backward);
              expect_covered(call, backward, options);
            }
          }
        }
      }
    }
  }
  Call packed(1, 1, 3, 128, 128);
  packed.pack({0, 0, 1, 5000, 5064, 5064, 9000});
  for (const AttentionPlanOptions& options : forced) {
    expect_covered(packed, false, options);
    expect_covered(packed, true, options);
  }
}

// The runs of a sequence depend on nothing but itself.
TEST(PlanForGpu, BatchInvariant) {
  const auto runs_of_the_first = [](std::int64_t batch) {
    const AttentionPlan plan =
        take(plan_attention(Call(batch, 20000, 2, 64, 64).args, gpu(), {.batch_invariant = true}));
    const auto* details = dynamic_cast<const cuda::PlanDetails*>(plan.details.get());
    std::vector<std::pair<int, int>> runs;
    for (const cuda::WorkItem& item : details->launches.launches.front().main) {
      if (item.sequence == 0 && item.head == 0) runs.push_back({item.row, item.tokens});
    }
    std::sort(runs.begin(), runs.end());
    return runs;
  };
  EXPECT_GT(runs_of_the_first(1).size(), 1u);
  EXPECT_EQ(runs_of_the_first(1), runs_of_the_first(9));
}

}  // namespace
}  // namespace tnl::test
