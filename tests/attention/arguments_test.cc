// Each mistake gets its sentence.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "attention/right_call.h"
#include "support/require.h"

namespace tnl::test {
namespace {

const DeviceProperties kGpu{
    .kind = DeviceKind::kCuda, .name = "cuda:0", .cpu_target = "", .threads = 1};

struct Mistake {
  const char* name;
  std::function<void(Call&)> make;
  const char* sentence;
};

class ForwardMistake : public testing::TestWithParam<Mistake> {};

TEST_P(ForwardMistake, HasASentence) {
  Call call;
  ASSERT_TRUE(plan_attention(call.args, kDevice).ok());
  GetParam().make(call);
  for (const DeviceProperties& device : {kDevice, kGpu}) {
    const auto plan = plan_attention(call.args, device);
    ASSERT_FALSE(plan.ok());
    EXPECT_EQ(plan.status().code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(plan.status().message(), GetParam().sentence);
  }
}

const float kNaN = std::numeric_limits<float>::quiet_NaN();

const Mistake kForwardMistakes[] = {
    {"QMissing", [](Call& c) { c.args.q = {}; }, "q: not given"},
    {"NoMemory", [](Call& c) { c.args.v.data = nullptr; },
     "v: found no memory behind f32[2, 3, 2, 5]"},
    {"Integers", [](Call& c) { c.args.q.dtype = DType::kI32; },
     "q: found i32, expected f32, bf16, f16 or f64"},
    {"RankThreeWithoutOffsets",
     [](Call& c) {
       c.args.q = c.view({6, 2, 4});
     },
     "q: found f32[6, 2, 4], expected rank 4, [B, T, H, K] (rank 3 needs cu_seqlens)"},
    {"RankFourWithOffsets", [](Call& c) { c.args.cu_seqlens = c.offsets; },
     "q: found f32[2, 3, 2, 4], expected rank 3, [total, H, K], because cu_seqlens is given"},
    {"RankOutOfRange", [](Call& c) { c.args.q.rank = 5; }, "q: found rank 5, expected 3 or 4"},
    {"KeysDiffer",
     [](Call& c) {
       c.args.k = c.view({2, 3, 2, 6});
     },
     "k: found f32[2, 3, 2, 6], expected f32[2, 3, 2, 4]"},
    {"TypesDiffer", [](Call& c) { c.args.k.dtype = DType::kBF16; },
     "k: found bf16[2, 3, 2, 4], expected f32[2, 3, 2, 4]"},
    {"TokensDiffer",
     [](Call& c) {
       c.args.v = c.view({2, 4, 2, 5});
     },
     "v: found f32[2, 4, 2, 5], expected f32[2, 3, 2, 5]"},
    {"OutputDiffers",
     [](Call& c) {
       c.args.o = c.view({2, 3, 2, 4});
     },
     "o: found f32[2, 3, 2, 4], expected f32[2, 3, 2, 5]"},
    {"NegativeSize", [](Call& c) { c.args.q.shape[1] = -3; },
     "q: found f32[2, -3, 2, 4], expected no negative size"},
    {"GappyLastAxis", [](Call& c) { c.args.k.stride[3] = 2; },
     "k: found stride 2 along the last axis, expected 1"},
    {"NoKeys",
     [](Call& c) {
       c.args.q = c.args.k = c.view({2, 3, 2, 0});
     },
     "q: found K = 0, expected 1 to 1048576"},
    {"DecaysMissing", [](Call& c) { c.args.log_decay = c.args.log_decay.first(1); },
     "log_decay: found 1 values, expected one for each of 2 heads"},
    {"DecayPositive", [](Call& c) { c.log_decay[1] = 0.5f; },
     "log_decay: found 0.5 for head 1, expected at most 0"},
    {"DecayNaN", [](Call& c) { c.log_decay[0] = kNaN; },
     "log_decay: found nan for head 0, expected at most 0"},
    {"ScaleInfinite", [](Call& c) { c.args.scale = INFINITY; },
     "scale: found inf, expected a finite number"},
    {"StateShape",
     [](Call& c) {
       c.args.state_in = c.view({2, 2, 5, 4});
     },
     "state_in: found f32[2, 2, 5, 4], expected f32[2, 2, 4, 5]"},
    {"StateType", [](Call& c) { c.args.state_out.dtype = DType::kF64; },
     "state_out: found f64[2, 2, 4, 5], expected f32[2, 2, 4, 5]"},
    {"StateStrided", [](Call& c) { c.args.state_out.stride[2] = 7; },
     "state_out: found stride 7 along axis 2, expected 5 (states are row-major)"},
};

INSTANTIATE_TEST_SUITE_P(Arguments, ForwardMistake, testing::ValuesIn(kForwardMistakes),
                         [](const auto& info) { return info.param.name; });

class PackedMistake : public testing::TestWithParam<Mistake> {};

TEST_P(PackedMistake, HasASentence) {
  Call call;
  call.args.q = call.args.k = call.view({6, 2, 4});
  call.args.v = call.args.o = call.view({6, 2, 5});
  call.args.cu_seqlens = call.offsets;
  ASSERT_TRUE(plan_attention(call.args, kDevice).ok());
  GetParam().make(call);
  for (const DeviceProperties& device : {kDevice, kGpu}) {
    const auto plan = plan_attention(call.args, device);
    ASSERT_FALSE(plan.ok());
    EXPECT_EQ(plan.status().message(), GetParam().sentence);
  }
}

const Mistake kPackedMistakes[] = {
    {"StartsLate", [](Call& c) { c.offsets[0] = 1; },
     "cu_seqlens: found 1 as the first offset, expected 0"},
    {"Falls", [](Call& c) { c.offsets[1] = 7; },
     "cu_seqlens: found 6 after 7, expected rising offsets"},
    {"EndsEarly", [](Call& c) { c.offsets[2] = 5; },
     "cu_seqlens: found 5 as the last offset, expected 6, the tokens of q"},
    {"StatesForOtherSequences",
     [](Call& c) { c.args.cu_seqlens = std::span(c.offsets).subspan(0, 1); },
     "cu_seqlens: found 0 as the last offset, expected 6, the tokens of q"},
};

INSTANTIATE_TEST_SUITE_P(Arguments, PackedMistake, testing::ValuesIn(kPackedMistakes),
                         [](const auto& info) { return info.param.name; });

class BackwardMistake : public testing::TestWithParam<Mistake> {};

TEST_P(BackwardMistake, HasASentence) {
  Call call;
  ASSERT_TRUE(plan_attention_backward(call.args, call.gradients, kDevice).ok());
  GetParam().make(call);
  for (const DeviceProperties& device : {kDevice, kGpu}) {
    const auto plan = plan_attention_backward(call.args, call.gradients, device);
    ASSERT_FALSE(plan.ok());
    EXPECT_EQ(plan.status().message(), GetParam().sentence);
  }
}

const Mistake kBackwardMistakes[] = {
    {"OutputGradientMissing", [](Call& c) { c.gradients.d_o = {}; }, "d_o: not given"},
    {"Dq", [](Call& c) { c.gradients.dq = c.args.v; },
     "dq: found f32[2, 3, 2, 5], expected f32[2, 3, 2, 4]"},
    {"Dk", [](Call& c) { c.gradients.dk.dtype = DType::kF16; },
     "dk: found f16[2, 3, 2, 4], expected f32[2, 3, 2, 4]"},
    {"Dv", [](Call& c) { c.gradients.dv.stride[3] = 3; },
     "dv: found stride 3 along the last axis, expected 1"},
    {"DStateOut",
     [](Call& c) {
       c.gradients.d_state_out = c.view({1, 2, 4, 5});
     },
     "d_state_out: found f32[1, 2, 4, 5], expected f32[2, 2, 4, 5]"},
    {"DStateIn", [](Call& c) { c.gradients.d_state_in.data = nullptr; },
     "d_state_in: found no memory behind f32[2, 2, 4, 5]"},
};

INSTANTIATE_TEST_SUITE_P(Arguments, BackwardMistake, testing::ValuesIn(kBackwardMistakes),
                         [](const auto& info) { return info.param.name; });

class StepMistake : public testing::TestWithParam<Mistake> {};

TEST_P(StepMistake, HasASentence) {
  const Device device = take(Device::open("cpu", {.threads = 1}));
  Call call;
  ASSERT_TRUE(attention_step(call.step, device).ok());
  GetParam().make(call);
  const Status status = attention_step(call.step, device);
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.message(), GetParam().sentence);
}

// Tensors of four tokens each, an i32 one a sequence, and a draft of two tokens.
void several(Call& c) {
  c.step.q = c.step.k = c.view({3, 4, 2, 4});
  c.step.v = c.step.o = c.view({3, 4, 2, 5});
  c.step.draft.k = c.view({3, 2, 2, 4});
  c.step.draft.v = c.view({3, 2, 2, 5});
  c.step.draft.accepted = c.step.device_slots =
      TensorView::contiguous(c.integers.data(), DType::kI32, {3});
}

TEST(StepArguments, SeveralTokens) {
  const Device device = take(Device::open("cpu", {.threads = 1}));
  Call call;
  several(call);
  EXPECT_OK(attention_step(call.step, device));
  call.step.q.shape[1] = call.step.k.shape[1] = call.step.v.shape[1] = call.step.o.shape[1] = 0;
  EXPECT_OK(attention_step(call.step, device));
}

const std::vector<std::int64_t> kTooFew = {0, 1}, kTwice = {3, 1, 3}, kOutside = {0, 4, 1},
                                kNegative = {0, -1, 1};

const Mistake kStepMistakes[] = {
    {"Rank",
     [](Call& c) {
       c.step.q = c.view({3, 8});
     },
     "q: found f32[3, 8], expected rank 3, [N, H, K], or 4, [N, T, H, K]"},
    {"TooManyTokens",
     [](Call& c) {
       c.step.q = c.view({3, 9, 2, 4});
     },
     "q: found 9 tokens a sequence, expected 0 to 8"},
    {"TokensDiffer",
     [](Call& c) {
       several(c);
       c.step.k = c.view({3, 3, 2, 4});
     },
     "k: found f32[3, 3, 2, 4], expected f32[3, 4, 2, 4]"},
    {"OneTokenAndSeveral",
     [](Call& c) {
       several(c);
       c.step.v = c.view({3, 2, 5});
     },
     "v: found f32[3, 2, 5], expected f32[3, 4, 2, 1]"},
    {"DraftWithoutKeys",
     [](Call& c) {
       several(c);
       c.step.draft.k = {};
     },
     "draft.k: not given"},
    {"DraftTooLong",
     [](Call& c) {
       several(c);
       c.step.draft.k = c.view({3, 9, 2, 4});
     },
     "draft.k: found 9 tokens a sequence, expected 0 to 8"},
    {"DraftValues",
     [](Call& c) {
       several(c);
       c.step.draft.v = c.step.v;
     },
     "draft.v: found f32[3, 4, 2, 5], expected f32[3, 2, 2, 5]"},
    {"DraftWithoutCounts",
     [](Call& c) {
       several(c);
       c.step.draft.accepted = {};
     },
     "draft.accepted: not given"},
    {"DraftAccepted",
     [](Call& c) {
       several(c);
       c.integers[1] = 3;
       c.step.device_slots = {};
     },
     "draft.accepted: found 3, expected 0 to 2"},
    {"DeviceSlotsOf64Bits",
     [](Call& c) {
       several(c);
       c.step.device_slots.dtype = DType::kI64;
     },
     "device_slots: found i64[3], expected i32[3]"},
    {"DeviceSlotsBesideSlots",
     [](Call& c) {
       several(c);
       c.step.state_slots = kTooFew;
     },
     "device_slots: found beside state_slots, expected one of the two"},
    {"DeviceSlotTwice",
     [](Call& c) {
       several(c);
       c.integers = {2, 0, 2};
     },
     "device_slots: found 2 twice, expected distinct slots"},
    {"DeviceSlotOutside",
     [](Call& c) {
       several(c);
       c.integers = {2, 0, 4};
     },
     "device_slots: found 4, expected at most 3"},
    {"Values",
     [](Call& c) {
       c.step.v = c.view({2, 2, 5});
     },
     "v: found f32[2, 2, 5], expected f32[3, 2, 5]"},
    {"TooFewSlots",
     [](Call& c) {
       c.step.state = c.view({2, 2, 4, 5});
     },
     "state: found 2 slots, expected at least one for each of 3 sequences"},
    {"StateShape",
     [](Call& c) {
       c.step.state = c.view({4, 2, 5, 5});
     },
     "state: found f32[4, 2, 5, 5], expected f32[4, 2, 4, 5]"},
    {"SlotCount", [](Call& c) { c.step.state_slots = kTooFew; },
     "state_slots: found 2 values, expected one for each of 3 sequences"},
    {"SlotTwice", [](Call& c) { c.step.state_slots = kTwice; },
     "state_slots: found 3 twice, expected distinct slots"},
    {"SlotOutside", [](Call& c) { c.step.state_slots = kOutside; },
     "state_slots: found 4, expected 0 to 3"},
    {"SlotNegative", [](Call& c) { c.step.state_slots = kNegative; },
     "state_slots: found -1, expected 0 to 3"},
};

INSTANTIATE_TEST_SUITE_P(Arguments, StepMistake, testing::ValuesIn(kStepMistakes),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace tnl::test
