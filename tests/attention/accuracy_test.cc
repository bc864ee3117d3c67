// Random data against the fp64 recurrence.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "attention/attention_case.h"

namespace tnl::test {
namespace {

const Variant kReference{.kernel = "reference-recurrent", .dtype = DType::kF64};

struct Bounds {
  double output, state;
};

// What the storage's own rounding of a result leaves, a little widened: 2^-9 and 2^-12 over sqrt 3.
// Where operands of matrix products are rounded too: what that adds, and to the state.
Bounds bounds_of(const Variant& variant) {
  const bool rounds = variant.rounds_operands();
  const bool precise = variant.precision == "precise";
  switch (variant.dtype) {
    case DType::kBF16:
      return !rounds   ? Bounds{1.72e-3, 2e-6}
             : precise ? Bounds{1.75e-3, 1e-4}
                       : Bounds{2.9e-3, 1.8e-3};
    case DType::kF16:
      return !rounds   ? Bounds{2.2e-4, 2e-6}
             : precise ? Bounds{2.3e-4, 2e-5}
                       : Bounds{3.8e-4, 2.3e-4};
    case DType::kF64:
      return {1e-13, 1e-13};
    default:
      return variant.on_gpu ? Bounds{1e-5, 1e-5} : Bounds{2e-6, 2e-6};
  }
}

void expect_close(const AttentionCase& input, const Variant& variant) {
  const AttentionCase stored = rounded(input, variant.dtype);
  const Bounds bounds = bounds_of(variant);
  const Outputs expected = run_forward(stored, kReference);
  const Outputs found = run_forward(stored, variant);
  EXPECT_LE(relative_rms(found.o, expected.o), bounds.output);
  EXPECT_LE(relative_rms(found.state_out, expected.state_out), bounds.state);
  const Gradients d_expected = run_backward(stored, kReference);
  const Gradients d_found = run_backward(stored, variant);
  EXPECT_LE(relative_rms(d_found.dq, d_expected.dq), bounds.output);
  EXPECT_LE(relative_rms(d_found.dk, d_expected.dk), bounds.output);
  EXPECT_LE(relative_rms(d_found.dv, d_expected.dv), bounds.output);
  EXPECT_LE(relative_rms(d_found.d_state_in, d_expected.d_state_in), bounds.state);
}

class Accuracy : public KernelTest {};

TEST_P(Accuracy, Shapes) {
  const std::int64_t sizes[][5] = {
      {2, 300, 3, 64, 64}, {1, 129, 2, 128, 128}, {1, 70, 2, 256, 128}, {2, 61, 3, 37, 29}};
  for (const auto& [batch, tokens, heads, key_dim, value_dim] : sizes) {
    for (const Direction direction : {Direction::kForward, Direction::kReverse}) {
      SCOPED_TRACE(testing::Message() << tokens << "x" << key_dim << "x" << value_dim);
      AttentionCase input = random_case(tokens, batch, tokens, heads, GetParam().width(key_dim),
                                        GetParam().width(value_dim));
      add_states(input, 5);
      input.direction = direction;
      input.scale = 0.3f;
      expect_close(input, GetParam());
    }
  }
}

class HalfAccuracy : public KernelTest {};

TEST_P(HalfAccuracy, StorageTypes) {
  AttentionCase input = random_case(8, 2, 90, 3, 64, 48);
  add_states(input, 9);
  for (const DType dtype : {DType::kBF16, DType::kF16}) {
    SCOPED_TRACE(std::string(dtype_name(dtype)));
    Variant variant = GetParam();
    variant.dtype = dtype;
    expect_close(input, variant);
  }
}

TEST_P(Accuracy, SlopesFromNoneToInfinite) {
  AttentionCase input = random_case(2, 1, 200, 6, 32, 32);
  add_states(input, 3);
  input.log_decay = {0.0f,
                     -1e-5f,
                     -0.84f,
                     -50.0f,
                     -std::numeric_limits<float>::infinity(),
                     -std::numeric_limits<float>::max()};
  expect_close(input, GetParam());
}

TEST_P(Accuracy, FullForgettingLeavesTheTokenItself) {
  AttentionCase input = random_case(4, 1, 40, 2, 8, 16);
  add_states(input, 3);
  input.log_decay = {-50.0f, -std::numeric_limits<float>::infinity()};
  input = rounded(input, GetParam().dtype);
  const Outputs found = run_forward(input, GetParam());
  const double bound = GetParam().dtype == DType::kBF16  ? 1.6e-2
                       : GetParam().dtype == DType::kF16 ? 2e-3
                                                         : 1e-5;
  for (std::int64_t row = 0; row < 80; ++row) {
    double score = 0;
    for (std::int64_t c = 0; c < 8; ++c) score += input.q[row * 8 + c] * input.k[row * 8 + c];
    for (std::int64_t c = 0; c < 16; ++c) {
      const double expected = score * input.v[row * 16 + c];
      EXPECT_NEAR(found.o[row * 16 + c], expected, bound * std::abs(expected) + bound);
    }
  }
}

// Without decay the state is a plain sum, which must not drift.
TEST_P(Accuracy, LongWithoutDecay) {
  AttentionCase input = random_case(6, 1, 8192, 1, 16, 16);
  input.log_decay = {0.0f};
  expect_close(input, GetParam());
}

INSTANTIATE_TEST_SUITE_P(Kernels, Accuracy, testing::ValuesIn(all_kernels()),
                         [](const auto& info) { return name_of(info.param); });
INSTANTIATE_TEST_SUITE_P(Gpu, Accuracy, testing::ValuesIn(gpu_kernels()),
                         [](const auto& info) { return name_of(info.param); });
INSTANTIATE_TEST_SUITE_P(GpuSegments, Accuracy, testing::ValuesIn(gpu_segments()),
                         [](const auto& info) { return name_of(info.param); });
INSTANTIATE_TEST_SUITE_P(Kernels, HalfAccuracy, testing::ValuesIn(fast_kernels()),
                         [](const auto& info) { return name_of(info.param); });
INSTANTIATE_TEST_SUITE_P(Segments, Accuracy, testing::ValuesIn(cpu_segments()),
                         [](const auto& info) { return name_of(info.param); });

}  // namespace
}  // namespace tnl::test
