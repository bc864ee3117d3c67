// The one-token step against the forward pass.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "attention/attention_case.h"
#include "attention/on_device.h"
#include "support/require.h"

namespace tnl::test {
namespace {

class Step : public KernelTest {};

// Steps are fp32 arithmetic in every storage type.
std::vector<Variant> gpu_steps() {
  std::vector<Variant> variants;
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    variants.push_back({.dtype = dtype, .on_gpu = true});
    variants.push_back({.kernel = "general", .dtype = dtype, .on_gpu = true});
  }
  return variants;
}

struct StepCase {
  std::int64_t sequences, tokens, heads, key_dim, value_dim, slots;
  std::vector<std::int64_t> state_slots = {};
};

// Runs `tokens` steps and compares outputs and states with one forward pass; slots no sequence uses
// hold NaN and keep it.
void check(const StepCase& sizes, const Variant& variant) {
  const std::int64_t N = sizes.sequences, T = sizes.tokens, H = sizes.heads;
  const std::int64_t K = sizes.key_dim, V = sizes.value_dim;
  AttentionCase input = random_case(7, N, T, H, K, V);
  add_states(input, 8);
  input.scale = 0.5f;
  input = rounded(input, variant.dtype);
  Variant whole = variant;
  if (whole.on_gpu) whole.kernel = "general";  // the others round operands
  Outputs expected = run_forward(input, whole);

  const DType state_dtype = variant.dtype == DType::kF64 ? DType::kF64 : DType::kF32;
  Tensor state(state_dtype, {sizes.slots, H, K, V});
  std::vector<double> pool(sizes.slots * H * K * V, std::numeric_limits<double>::quiet_NaN());
  const auto slot_of = [&](std::int64_t n) {
    return sizes.state_slots.empty() ? n : sizes.state_slots[n];
  };
  for (std::int64_t n = 0; n < N; ++n) {
    std::copy_n(input.state_in.begin() + n * H * K * V, H * K * V,
                pool.begin() + slot_of(n) * H * K * V);
  }
  state.set(pool);

  const Device device = open_device(variant);
  std::vector<double> found(expected.o.size());
  for (std::int64_t t = 0; t < T; ++t) {
    Tensor q(variant.dtype, {N, H, K}, variant.gap), k(variant.dtype, {N, H, K}, variant.gap);
    Tensor v(variant.dtype, {N, H, V}, variant.gap), o(variant.dtype, {N, H, V}, variant.gap);
    const auto token = [&](const std::vector<double>& data, std::int64_t width) {
      std::vector<double> rows;
      for (std::int64_t n = 0; n < N; ++n) {
        const auto row = data.begin() + (n * T + t) * H * width;
        rows.insert(rows.end(), row, row + H * width);
      }
      return rows;
    };
    q.set(token(input.q, K));
    k.set(token(input.k, K));
    v.set(token(input.v, V));
    AttentionStepArgs args;
    OnDevice on(device);
    args.q = on(q);
    args.k = on(k);
    args.v = on(v);
    args.o = on(o);
    args.log_decay = input.log_decay;
    args.scale = input.scale;
    args.state = on(state);
    args.state_slots = sizes.state_slots;
    EXPECT_OK(attention_step(args, device, variant.kernel));
    on.fetch();
    const std::vector<double> rows = o.values();
    for (std::int64_t n = 0; n < N; ++n) {
      std::copy_n(rows.begin() + n * H * V, H * V, found.begin() + (n * T + t) * H * V);
    }
  }
  const double bound = variant.dtype == DType::kBF16  ? 2.5e-3
                       : variant.dtype == DType::kF16 ? 3e-4
                       : variant.dtype == DType::kF64 ? 1e-13
                                                      : 2e-6;
  EXPECT_LE(relative_rms(found, expected.o), bound);
  const std::vector<double> states = state.values();
  std::vector<bool> used(sizes.slots);
  for (std::int64_t n = 0; n < N; ++n) {
    used[slot_of(n)] = true;
    const auto first = states.begin() + slot_of(n) * H * K * V;
    const auto wanted = expected.state_out.begin() + n * H * K * V;
    EXPECT_LE(relative_rms({first, first + H * K * V}, {wanted, wanted + H * K * V}),
              variant.dtype == DType::kF64 ? 1e-13 : 2e-6);
  }
  for (std::int64_t slot = 0; slot < sizes.slots; ++slot) {
    if (used[slot]) continue;
    for (std::int64_t x = 0; x < H * K * V; ++x) {
      ASSERT_TRUE(std::isnan(states[slot * H * K * V + x])) << "slot " << slot;
    }
  }
}

TEST_P(Step, IsOneTokenOfTheForwardPass) {
  check({.sequences = 1, .tokens = 5, .heads = 1, .key_dim = 64, .value_dim = 64, .slots = 1},
        GetParam());
  check({.sequences = 2, .tokens = 4, .heads = 3, .key_dim = 7, .value_dim = 5, .slots = 3},
        GetParam());
  check({.sequences = 3, .tokens = 3, .heads = 2, .key_dim = 256, .value_dim = 131, .slots = 3},
        GetParam());
}

TEST_P(Step, PicksItsSlots) {
  Variant variant = GetParam();
  variant.threads = 3;
  variant.gap = 11;
  check({.sequences = 3,
         .tokens = 4,
         .heads = 2,
         .key_dim = 33,
         .value_dim = 70,
         .slots = 9,
         .state_slots = {7, 0, 4}},
        variant);
}

class HalfStep : public KernelTest {};

TEST_P(HalfStep, StorageTypes) {
  for (const DType dtype : {DType::kBF16, DType::kF16}) {
    Variant variant = GetParam();
    variant.dtype = dtype;
    check({.sequences = 2, .tokens = 6, .heads = 2, .key_dim = 40, .value_dim = 72, .slots = 2},
          variant);
  }
}

TEST(StepWithoutSequences, DoesNothing) {
  const Device device = take(Device::open("cpu", {.threads = 1}));
  Tensor rows(DType::kF32, {0, 2, 3}), state(DType::kF32, {0, 2, 3, 3});
  const std::vector<float> log_decay(2, -1.0f);
  AttentionStepArgs args;
  args.q = args.k = args.v = args.o = rows.view();
  args.log_decay = log_decay;
  args.state = state.view();
  EXPECT_OK(attention_step(args, device));
}

INSTANTIATE_TEST_SUITE_P(Kernels, Step, testing::ValuesIn(all_kernels()),
                         [](const auto& info) { return name_of(info.param); });
INSTANTIATE_TEST_SUITE_P(Kernels, HalfStep, testing::ValuesIn(fast_kernels()),
                         [](const auto& info) { return name_of(info.param); });
INSTANTIATE_TEST_SUITE_P(Gpu, Step, testing::ValuesIn(gpu_steps()),
                         [](const auto& info) { return name_of(info.param); });

}  // namespace
}  // namespace tnl::test
