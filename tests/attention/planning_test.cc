// Plans are pure data; what cannot be planned gets its sentence.
#include <gtest/gtest.h>

#include "attention/right_call.h"
#include "core/buffer.h"
#include "support/require.h"

namespace tnl::test {
namespace {

std::string kernel_error(const std::string& kernel, DType dtype, const DeviceProperties& device) {
  Call call;
  for (TensorView* view : {&call.args.q, &call.args.k, &call.args.v, &call.args.o}) {
    view->dtype = dtype;
  }
  call.args.state_in = call.args.state_out = {};
  const auto plan = plan_attention(call.args, device, {.kernel = kernel});
  return plan.ok() ? "" : plan.status().message();
}

TEST(AttentionPlanning, RefusesKernelsThatDoNotFit) {
  EXPECT_EQ(kernel_error("neon", DType::kF32, kDevice),
            "kernel: found 'neon', expected avx512, avx2, generic, reference-recurrent or "
            "reference-chunked");
  EXPECT_EQ(kernel_error("avx2", DType::kF64, kDevice),
            "kernel: found avx2 for f64, expected reference-recurrent or reference-chunked");
  EXPECT_EQ(kernel_error("reference-chunked", DType::kBF16, kDevice),
            "kernel: found reference-chunked for bf16, expected f64 data");
  EXPECT_EQ(kernel_error("avx512", DType::kF32, kDevice),
            "kernel: found avx512, expected at most avx2, the device's target");
  const DeviceProperties reference{
      .kind = DeviceKind::kReference, .name = "reference", .cpu_target = ""};
  EXPECT_EQ(kernel_error("", DType::kF32, reference),
            "q: found f32, expected f64 on the device 'reference'");
  EXPECT_EQ(kernel_error("", DType::kF64, reference), "");
}

TEST(AttentionPlanning, RefusesOptionsOutOfRange) {
  Call call;
  EXPECT_EQ(plan_attention(call.args, kDevice, {.chunk = 5000}).status().message(),
            "options.chunk: found 5000, expected 0 (chosen) to 4096");
  EXPECT_EQ(plan_attention(call.args, kDevice, {.value_slice = -1}).status().message(),
            "options.value_slice: found -1, expected 0 (chosen) or more");
}

TEST(AttentionPlanning, IsPureAndPrintable) {
  Call call;
  const AttentionPlan plan = take(plan_attention(call.args, kDevice));
  const AttentionPlan again = take(plan_attention(call.args, kDevice));
  EXPECT_EQ(plan.describe(), again.describe());
  EXPECT_EQ(plan.kernel, "avx2");
  EXPECT_EQ(plan.tasks, 4);
  EXPECT_EQ(plan.value_slice, 5);
  EXPECT_TRUE(plan.describe().starts_with("forward: kernel avx2, chunk 16, value slice 5, 4 tasks"))
      << plan.describe();
  const AttentionPlan backward = take(plan_attention_backward(call.args, call.gradients, kDevice));
  EXPECT_TRUE(backward.describe().starts_with("backward: kernel avx2")) << backward.describe();
}

// With fewer sequences and heads than threads, the columns of V are shared out.
TEST(AttentionPlanning, SlicesValuesForIdleThreads) {
  std::vector<float> memory(512 * 128), log_decay = {-0.1f};
  AttentionArgs args;
  args.q = args.k = args.v = args.o =
      TensorView::contiguous(memory.data(), DType::kF32, {1, 512, 1, 128});
  args.log_decay = log_decay;
  DeviceProperties device = kDevice;
  for (const auto& [threads, slice] : {std::pair{1, 128}, {2, 64}, {4, 32}, {8, 16}}) {
    device.threads = threads;
    const AttentionPlan plan = take(plan_attention(args, device));
    EXPECT_EQ(plan.value_slice, slice) << threads;
    EXPECT_EQ(plan.tasks, 128 / slice) << threads;
  }
}

// Where columns do not suffice, time is cut too; not for two threads and columns for both, nor
// where segments would be short.
TEST(AttentionPlanning, CutsTimeForIdleThreads) {
  std::vector<float> memory(16), log_decay = {0.0f};
  const auto segments = [&](int threads, std::int64_t tokens, bool batch_invariant = false) {
    AttentionArgs args;
    args.q = args.k = args.v = args.o =
        TensorView::contiguous(memory.data(), DType::kF32, {1, tokens, 1, 128});
    args.log_decay = log_decay;
    DeviceProperties device = kDevice;
    device.threads = threads;
    return take(plan_attention(args, device, {.batch_invariant = batch_invariant})).segments;
  };
  EXPECT_EQ(segments(1, 65536), 1);
  EXPECT_EQ(segments(2, 65536), 1);
  EXPECT_GE(segments(16, 65536), 8);
  EXPECT_EQ(segments(16, 65536, true), 1);
  EXPECT_EQ(segments(16, 1024), 1);
  EXPECT_EQ(plan_attention(Call().args, kDevice, {.runs = -1}).status().message(),
            "options.runs: found -1, expected 0 (chosen) to 1048576");
}

TEST(AttentionPlanning, RunRefusesAPlanForSomethingElse) {
  Call call;
  const Device device = take(Device::open("cpu", {.threads = 1}));
  const AttentionPlan plan = take(plan_attention(call.args, device.properties()));
  const Buffer workspace = take(Buffer::allocate(plan.workspace_bytes + 64, "workspace"));
  EXPECT_EQ(attention_forward(call.args, {}, workspace.data(), device).message(),
            "plan: found an empty one, expected what plan_attention() returned");
  EXPECT_EQ(attention_backward(call.args, call.gradients, plan, workspace.data(), device).message(),
            "plan: found one for the forward pass, expected the backward pass");
  AttentionPlan small = plan;
  small.workspace_bytes = 64;
  EXPECT_TRUE(attention_forward(call.args, small, workspace.data(), device)
                  .message()
                  .starts_with("plan: found 64 bytes of workspace, expected "));
  EXPECT_TRUE(attention_forward(call.args, plan, nullptr, device)
                  .message()
                  .starts_with("workspace: found "));
  AttentionPlan unknown = plan;
  unknown.kernel = "sse";
  EXPECT_FALSE(attention_forward(call.args, unknown, workspace.data(), device).ok());
}

}  // namespace
}  // namespace tnl::test
