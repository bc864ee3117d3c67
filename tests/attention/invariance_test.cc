// What must not change the answer: where a sequence is cut, how sequences are packed, how many
// threads there are, which slices of V they own.
#include <gtest/gtest.h>

#include <algorithm>

#include "attention/attention_case.h"

namespace tnl::test {
namespace {

double bound_of(const Variant& variant) {
  // Two results, each with its own rounding.
  if (variant.dtype == DType::kBF16) return 3.4e-3;
  if (variant.dtype == DType::kF16) return 4.3e-4;
  if (variant.on_gpu) return 1e-5;
  return variant.dtype == DType::kF64 ? 1e-13 : 2e-6;
}

std::vector<double> part(const std::vector<double>& data, std::int64_t first, std::int64_t count) {
  return {data.begin() + first, data.begin() + first + count};
}

// Tokens first .. first + count of a case of one sequence.
AttentionCase tokens_of(const AttentionCase& input, std::int64_t first, std::int64_t count) {
  AttentionCase result = input;
  result.tokens = count;
  result.cu_seqlens.clear();
  const std::int64_t key_row = input.heads * input.key_dim;
  const std::int64_t value_row = input.heads * input.value_dim;
  result.q = part(input.q, first * key_row, count * key_row);
  result.k = part(input.k, first * key_row, count * key_row);
  result.v = part(input.v, first * value_row, count * value_row);
  result.d_o = part(input.d_o, first * value_row, count * value_row);
  return result;
}

class Invariance : public KernelTest {};

TEST_P(Invariance, ContinuingFromAStateIsOnePass) {
  const std::int64_t tokens = 75;
  AttentionCase whole = random_case(1, 1, tokens, 3, GetParam().width(20), 24);
  add_states(whole, 2);
  const Outputs expected = run_forward(whole, GetParam());
  const Gradients d_expected = run_backward(whole, GetParam());
  for (const std::int64_t cut : {0, 1, 2, 15, 16, 17, 32, 33, 64, 74, 75}) {
    SCOPED_TRACE(cut);
    AttentionCase first = tokens_of(whole, 0, cut);
    AttentionCase second = tokens_of(whole, cut, tokens - cut);
    const Outputs head = run_forward(first, GetParam());
    second.state_in = head.state_out;
    Outputs tail = run_forward(second, GetParam());
    std::vector<double> o = head.o;
    o.insert(o.end(), tail.o.begin(), tail.o.end());
    EXPECT_LE(relative_rms(o, expected.o), bound_of(GetParam()));
    EXPECT_LE(relative_rms(tail.state_out, expected.state_out), bound_of(GetParam()));

    const Gradients d_tail = run_backward(second, GetParam());
    first.d_state_out = d_tail.d_state_in;
    Gradients d_head = run_backward(first, GetParam());
    d_head.dk.insert(d_head.dk.end(), d_tail.dk.begin(), d_tail.dk.end());
    d_head.dq.insert(d_head.dq.end(), d_tail.dq.begin(), d_tail.dq.end());
    EXPECT_LE(relative_rms(d_head.dk, d_expected.dk), bound_of(GetParam()));
    EXPECT_LE(relative_rms(d_head.dq, d_expected.dq), bound_of(GetParam()));
    EXPECT_LE(relative_rms(d_head.d_state_in, d_expected.d_state_in), bound_of(GetParam()));
  }
}

TEST_P(Invariance, PackedIsSeparateBitForBit) {
  for (const Direction direction : {Direction::kForward, Direction::kReverse}) {
    AttentionCase packed = random_case(3, 1, 120, 2, GetParam().width(17), 40);
    packed.direction = direction;
    packed.cu_seqlens = {0, 0, 1, 40, 73, 73, 105, 120};
    add_states(packed, 4);
    const Outputs together = run_forward(packed, GetParam());
    const Gradients d_together = run_backward(packed, GetParam());
    const std::int64_t state = packed.heads * packed.key_dim * packed.value_dim;
    const std::int64_t key_row = packed.heads * packed.key_dim;
    const std::int64_t value_row = packed.heads * packed.value_dim;
    for (std::int64_t n = 0; n < packed.sequences(); ++n) {
      const std::int64_t begin = packed.begin(n), length = packed.length(n);
      AttentionCase one = tokens_of(packed, begin, length);
      one.state_in = part(packed.state_in, n * state, state);
      one.d_state_out = part(packed.d_state_out, n * state, state);
      const Outputs alone = run_forward(one, GetParam());
      EXPECT_EQ(alone.o, part(together.o, begin * value_row, length * value_row));
      EXPECT_EQ(alone.state_out, part(together.state_out, n * state, state));
      const Gradients d_alone = run_backward(one, GetParam());
      EXPECT_EQ(d_alone.dq, part(d_together.dq, begin * key_row, length * key_row));
      EXPECT_EQ(d_alone.dk, part(d_together.dk, begin * key_row, length * key_row));
      EXPECT_EQ(d_alone.dv, part(d_together.dv, begin * value_row, length * value_row));
      EXPECT_EQ(d_alone.d_state_in, part(d_together.d_state_in, n * state, state));
    }
  }
}

TEST_P(Invariance, ReverseIsTheMirror) {
  const std::int64_t K = GetParam().width(12), V = GetParam().width(20);
  AttentionCase input = random_case(5, 1, 50, 2, K, V);
  add_states(input, 6);
  AttentionCase mirrored = input;
  mirrored.direction = Direction::kReverse;
  const auto mirror = [&](std::vector<double>& data, std::int64_t row) {
    for (std::int64_t t = 0; t < 25; ++t) {
      std::swap_ranges(data.begin() + t * row, data.begin() + (t + 1) * row,
                       data.begin() + (49 - t) * row);
    }
  };
  mirror(mirrored.q, 2 * K);
  mirror(mirrored.k, 2 * K);
  mirror(mirrored.v, 2 * V);
  const Outputs expected = run_forward(input, GetParam());
  Outputs found = run_forward(mirrored, GetParam());
  mirror(found.o, 2 * V);
  if (GetParam().tokens_together() > 1) {  // tensor cores add the tokens of a chunk in their order
    EXPECT_LE(relative_rms(found.o, expected.o), bound_of(GetParam()));
    EXPECT_LE(relative_rms(found.state_out, expected.state_out), bound_of(GetParam()));
    return;
  }
  EXPECT_EQ(found.o, expected.o);
  EXPECT_EQ(found.state_out, expected.state_out);
}

TEST_P(Invariance, NoTokensHandTheStateOn) {
  const std::int64_t K = GetParam().width(5), V = GetParam().width(6);
  AttentionCase input = random_case(7, 3, 0, 2, K, V);
  add_states(input, 8);
  input = rounded(input, GetParam().dtype);
  EXPECT_EQ(run_forward(input, GetParam()).state_out, input.state_in);
  input.state_in.clear();
  const std::vector<double> zeros(3 * 2 * K * V);
  EXPECT_EQ(run_forward(input, GetParam()).state_out, zeros);
}

TEST_P(Invariance, OneTokenIsItsOwnState) {
  const std::int64_t K = GetParam().width(3), V = GetParam().width(4);
  AttentionCase input = random_case(9, 1, 1, 1, K, V);
  input = rounded(input, GetParam().dtype);
  const Outputs found = run_forward(input, GetParam());
  for (int k = 0; k < K; ++k) {
    for (int v = 0; v < V; ++v) {
      EXPECT_NEAR(found.state_out[k * V + v], input.k[k] * input.v[v], 1e-6);
    }
  }
}

TEST_P(Invariance, EmptyBatchAndEmptyPack) {
  AttentionCase input = random_case(10, 0, 5, 2, GetParam().width(3), GetParam().width(4));
  EXPECT_TRUE(run_forward(input, GetParam()).o.empty());
  input.batch = 1;
  input.tokens = 0;
  input.cu_seqlens = {0};
  EXPECT_TRUE(run_backward(input, GetParam()).dq.empty());
}

TEST_P(Invariance, StateInPlace) {
  AttentionCase input = random_case(11, 2, 40, 2, GetParam().width(18), GetParam().width(70));
  add_states(input, 12);
  Variant in_place = GetParam();
  in_place.state_in_place = true;
  in_place.value_slice = 32;
  const Outputs expected = run_forward(input, GetParam());
  const Outputs found = run_forward(input, in_place);
  EXPECT_EQ(found.o, expected.o);
  EXPECT_EQ(found.state_out, expected.state_out);
  const Gradients d_expected = run_backward(input, GetParam());
  const Gradients d_found = run_backward(input, in_place);
  EXPECT_EQ(d_found.dk, d_expected.dk);
  EXPECT_EQ(d_found.dv, d_expected.dv);
  EXPECT_EQ(d_found.d_state_in, d_expected.d_state_in);
}

// Long enough for every way to cut it.
class Repetition : public KernelTest {};

TEST_P(Repetition, KeepsTheBits) {
  AttentionCase input = random_case(15, 1, 1000, 3, 128, 128);
  add_states(input, 16);
  input.log_decay = {-0.5f, -0.01f, 0.0f};
  const Outputs expected = run_forward(input, GetParam());
  const Gradients d_expected = run_backward(input, GetParam());
  for (int repetition = 0; repetition < 3; ++repetition) {
    const Outputs found = run_forward(input, GetParam());
    EXPECT_EQ(found.o, expected.o);
    EXPECT_EQ(found.state_out, expected.state_out);
    const Gradients d_found = run_backward(input, GetParam());
    EXPECT_EQ(d_found.dq, d_expected.dq);
    EXPECT_EQ(d_found.dk, d_expected.dk);
    EXPECT_EQ(d_found.dv, d_expected.dv);
    EXPECT_EQ(d_found.d_state_in, d_expected.d_state_in);
  }
}

// The same sequence alone and among others.
class BatchInvariance : public KernelTest {};

TEST_P(BatchInvariance, KeepsTheBits) {
  const std::int64_t tokens = 9000, heads = 2, width = 64;
  AttentionCase batch = random_case(17, 4, tokens, heads, width, width);
  add_states(batch, 18);
  const Outputs together = run_forward(batch, GetParam());
  const Gradients d_together = run_backward(batch, GetParam());
  const std::int64_t row = tokens * heads * width, state = heads * width * width;
  AttentionCase one = batch;
  one.batch = 1;
  for (std::vector<double>* data : {&one.q, &one.k, &one.v, &one.d_o})
    *data = part(*data, row, row);
  for (std::vector<double>* data : {&one.state_in, &one.d_state_out}) {
    *data = part(*data, state, state);
  }
  const Outputs alone = run_forward(one, GetParam());
  EXPECT_EQ(alone.o, part(together.o, row, row));
  EXPECT_EQ(alone.state_out, part(together.state_out, state, state));
  const Gradients d_alone = run_backward(one, GetParam());
  EXPECT_EQ(d_alone.dq, part(d_together.dq, row, row));
  EXPECT_EQ(d_alone.dk, part(d_together.dk, row, row));
  EXPECT_EQ(d_alone.dv, part(d_together.dv, row, row));
}

std::vector<Variant> batch_invariant_kernels() {
  std::vector<Variant> variants = {{.kernel = "generic"}};
  for (const int capability : {0, 80}) {
    variants.push_back({.dtype = DType::kBF16,
                        .on_gpu = true,
                        .capability = capability,
                        .batch_invariant = true,
                        .width_step = 8});
  }
  return variants;
}

class Threads : public KernelTest {};

TEST_P(Threads, AndSlicesKeepTheBits) {
  AttentionCase input = random_case(13, 1, 80, 3, 33, 90);
  add_states(input, 14);
  const Outputs expected = run_forward(input, GetParam());
  const Gradients d_expected = run_backward(input, GetParam());
  for (const int threads : {2, 5}) {
    for (const std::int64_t slice : {0, 7, 32, 64}) {
      Variant variant = GetParam();
      variant.threads = threads;
      variant.value_slice = slice;
      const Outputs found = run_forward(input, variant);
      EXPECT_EQ(found.o, expected.o);
      EXPECT_EQ(found.state_out, expected.state_out);
      const Gradients d_found = run_backward(input, variant);
      EXPECT_EQ(d_found.dq, d_expected.dq);
      EXPECT_EQ(d_found.dk, d_expected.dk);
      EXPECT_EQ(d_found.dv, d_expected.dv);
    }
  }
}

// One thread takes long heads in turns, a thread for each head takes them whole.
TEST_P(Threads, LongHeadsTakenInTurnsKeepTheBits) {
  for (const Direction direction : {Direction::kForward, Direction::kReverse}) {
    AttentionCase input = random_case(19, 1, 1700, 5, 16, 24);
    input.direction = direction;
    input.cu_seqlens = {0, 3, 516, 516, 1700};
    add_states(input, 20);
    Variant in_turns = GetParam();
    in_turns.value_slice = 32;
    in_turns.state_in_place = true;
    Variant whole = in_turns;
    whole.threads = 20;
    const Outputs expected = run_forward(input, whole);
    const Outputs found = run_forward(input, in_turns);
    EXPECT_EQ(found.o, expected.o);
    EXPECT_EQ(found.state_out, expected.state_out);
    const Gradients d_expected = run_backward(input, whole);
    const Gradients d_found = run_backward(input, in_turns);
    EXPECT_EQ(d_found.dq, d_expected.dq);
    EXPECT_EQ(d_found.dk, d_expected.dk);
    EXPECT_EQ(d_found.dv, d_expected.dv);
    EXPECT_EQ(d_found.d_state_in, d_expected.d_state_in);
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, Invariance, testing::ValuesIn(all_kernels()),
                         [](const auto& info) { return name_of(info.param); });
INSTANTIATE_TEST_SUITE_P(Gpu, Invariance, testing::ValuesIn(gpu_kernels()),
                         [](const auto& info) { return name_of(info.param); });
INSTANTIATE_TEST_SUITE_P(Kernels, Repetition, testing::ValuesIn(fast_kernels()),
                         [](const auto& info) { return name_of(info.param); });
INSTANTIATE_TEST_SUITE_P(Gpu, Repetition, testing::ValuesIn(gpu_kernels()),
                         [](const auto& info) { return name_of(info.param); });
INSTANTIATE_TEST_SUITE_P(GpuSegments, Repetition, testing::ValuesIn(gpu_segments()),
                         [](const auto& info) { return name_of(info.param); });
INSTANTIATE_TEST_SUITE_P(Kernels, BatchInvariance,
                         testing::Values(batch_invariant_kernels().front()),
                         [](const auto& info) { return name_of(info.param); });
INSTANTIATE_TEST_SUITE_P(Gpu, BatchInvariance,
                         testing::ValuesIn(std::vector<Variant>{batch_invariant_kernels()[1],
                                                                batch_invariant_kernels()[2]}),
                         [](const auto& info) { return name_of(info.param); });
INSTANTIATE_TEST_SUITE_P(Kernels, Threads, testing::ValuesIn(all_kernels()),
                         [](const auto& info) { return name_of(info.param); });

}  // namespace
}  // namespace tnl::test
