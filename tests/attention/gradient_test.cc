// The backward pass against finite differences of the forward pass, in fp64. The loss
// Σ d_o · o + Σ d_state_out · state_out is linear in any single input, so a difference with a step
// of 1 is exact up to rounding.
#include <gtest/gtest.h>

#include <cmath>

#include "attention/attention_case.h"

namespace tnl::test {
namespace {

double loss(const AttentionCase& input, const Variant& variant) {
  const Outputs outputs = run_forward(input, variant);
  double sum = 0;
  for (std::size_t i = 0; i < outputs.o.size(); ++i) sum += outputs.o[i] * input.d_o[i];
  for (std::size_t i = 0; i < outputs.state_out.size() && !input.d_state_out.empty(); ++i) {
    sum += outputs.state_out[i] * input.d_state_out[i];
  }
  return sum;
}

void check(AttentionCase input, std::vector<double> AttentionCase::*data,
           const std::vector<double>& gradient, const Variant& variant, const char* what) {
  ASSERT_EQ(gradient.size(), (input.*data).size());
  for (std::size_t i = 0; i < gradient.size(); ++i) {
    double& element = (input.*data)[i];
    const double kept = element;
    element = kept + 1;
    const double above = loss(input, variant);
    element = kept - 1;
    const double below = loss(input, variant);
    element = kept;
    ASSERT_NEAR(gradient[i], (above - below) / 2, 1e-11) << what << " element " << i;
  }
}

void check_all(const AttentionCase& input, const Variant& variant) {
  const Gradients gradients = run_backward(input, variant);
  check(input, &AttentionCase::q, gradients.dq, variant, "dq");
  check(input, &AttentionCase::k, gradients.dk, variant, "dk");
  check(input, &AttentionCase::v, gradients.dv, variant, "dv");
  if (!input.state_in.empty()) {
    check(input, &AttentionCase::state_in, gradients.d_state_in, variant, "d_state_in");
  }
}

class Gradient : public KernelTest {};

TEST_P(Gradient, MatchesFiniteDifferences) {
  for (const Direction direction : {Direction::kForward, Direction::kReverse}) {
    SCOPED_TRACE(direction == Direction::kReverse);
    AttentionCase input = random_case(1, 1, 7, 2, 3, 2);
    input.direction = direction;
    input.scale = 0.7f;
    Variant variant = GetParam();
    variant.chunk = 3;
    check_all(input, variant);
    add_states(input, 2);
    check_all(input, variant);
  }
}

TEST_P(Gradient, OfPackedSequences) {
  for (const Direction direction : {Direction::kForward, Direction::kReverse}) {
    AttentionCase input = random_case(3, 1, 8, 2, 2, 3);
    input.cu_seqlens = {0, 3, 3, 4, 8};
    input.direction = direction;
    add_states(input, 4);
    Variant variant = GetParam();
    variant.chunk = 2;
    check_all(input, variant);
  }
}

TEST_P(Gradient, OfTheStateWithoutTokens) {
  AttentionCase input = random_case(5, 2, 0, 2, 3, 2);
  add_states(input, 6);
  EXPECT_EQ(run_backward(input, GetParam()).d_state_in, input.d_state_out);
}

INSTANTIATE_TEST_SUITE_P(
    Kernels, Gradient,
    testing::Values(Variant{.kernel = "reference-recurrent", .dtype = DType::kF64},
                    Variant{.kernel = "reference-chunked", .dtype = DType::kF64}),
    [](const auto& info) { return name_of(info.param); });

}  // namespace
}  // namespace tnl::test
