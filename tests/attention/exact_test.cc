// λ = 1/2 (or 1) and small integers, scaled by powers of two so that every product and every sum
// on the way is representable: any kernel, chunk and slice must give the expected bits.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <tuple>

#include "attention/attention_case.h"
#include "core/rng.h"

namespace tnl::test {
namespace {

const float kHalf = -std::log(2.0f);

std::vector<double> integers(Rng& rng, std::int64_t count) {
  std::vector<double> values(count);
  for (double& value : values) value = static_cast<double>(rng.below(5)) - 2;
  return values;
}

// Time order: 0 is the token a forward (or mirrored) pass meets first.
std::int64_t position(const AttentionCase& input, std::int64_t n, std::int64_t t) {
  return input.direction == Direction::kForward ? t : input.length(n) - 1 - t;
}

// v falls and d_o rises by λ from token to token, which cancels every λ^distance.
void scale_rows(const AttentionCase& input, double lambda, std::vector<double>& v, bool rise) {
  for (std::int64_t n = 0; n < input.sequences(); ++n) {
    for (std::int64_t t = 0; t < input.length(n); ++t) {
      const double at = static_cast<double>(position(input, n, t));
      const double factor = std::pow(lambda, rise ? -at : at);
      for (std::int64_t x = 0; x < input.heads * input.value_dim; ++x) {
        v[input.row(n, t, 0, input.value_dim) + x] *= factor;
      }
    }
  }
}

void scale_states(const AttentionCase& input, double lambda, std::vector<double>& state,
                  bool at_end) {
  const std::int64_t size = input.heads * input.key_dim * input.value_dim;
  for (std::int64_t n = 0; n < input.sequences(); ++n) {
    const double exponent = at_end ? -static_cast<double>(input.length(n)) : -1.0;
    for (std::int64_t x = 0; x < size; ++x) state[n * size + x] *= std::pow(lambda, exponent);
  }
}

AttentionCase exact_case(std::uint64_t seed, std::int64_t batch, std::int64_t tokens,
                         std::int64_t heads, std::int64_t key_dim, std::int64_t value_dim,
                         double lambda, Direction direction) {
  Rng rng(seed);
  AttentionCase input;
  input.batch = batch;
  input.tokens = tokens;
  input.heads = heads;
  input.key_dim = key_dim;
  input.value_dim = value_dim;
  input.direction = direction;
  input.scale = 0.5f;
  input.log_decay.assign(heads, lambda == 1 ? 0.0f : kHalf);
  const std::int64_t rows = batch * tokens * heads;
  input.q = integers(rng, rows * key_dim);
  input.k = integers(rng, rows * key_dim);
  input.v = integers(rng, rows * value_dim);
  input.d_o = integers(rng, rows * value_dim);
  input.state_in = integers(rng, batch * heads * key_dim * value_dim);
  input.d_state_out = integers(rng, batch * heads * key_dim * value_dim);
  scale_rows(input, lambda, input.v, false);
  scale_rows(input, lambda, input.d_o, true);
  scale_states(input, lambda, input.state_in, false);
  scale_states(input, lambda, input.d_state_out, true);
  return input;
}

// The definition with λ^distance from pow, quadratic in T. All of it is exact in fp64.
struct Definition {
  const AttentionCase& input;
  double lambda;
  Outputs outputs;
  Gradients gradients;

  double state(const std::vector<double>& s, std::int64_t n, std::int64_t h, std::int64_t k,
               std::int64_t v) const {
    return s[((n * input.heads + h) * input.key_dim + k) * input.value_dim + v];
  }

  // Calls body(t, j, λ^distance) for every pair of tokens of which t sees j.
  template <class Body>
  void pairs(std::int64_t n, const Body& body) const {
    for (std::int64_t t = 0; t < input.length(n); ++t) {
      for (std::int64_t j = 0; j < input.length(n); ++j) {
        const std::int64_t distance = position(input, n, t) - position(input, n, j);
        if (distance >= 0) body(t, j, std::pow(lambda, static_cast<double>(distance)));
      }
    }
  }

  void head(std::int64_t n, std::int64_t h);
  void head_states(std::int64_t n, std::int64_t h);

  void run() {
    outputs.o.assign(input.v.size(), 0);
    outputs.state_out.assign(input.state_in.size(), 0);
    gradients.dq.assign(input.q.size(), 0);
    gradients.dk.assign(input.k.size(), 0);
    gradients.dv.assign(input.v.size(), 0);
    gradients.d_state_in.assign(input.state_in.size(), 0);
    for (std::int64_t n = 0; n < input.sequences(); ++n) {
      for (std::int64_t h = 0; h < input.heads; ++h) {
        head(n, h);
        head_states(n, h);
      }
    }
  }
};

void Definition::head(std::int64_t n, std::int64_t h) {
  const std::int64_t K = input.key_dim, V = input.value_dim;
  pairs(n, [&](std::int64_t t, std::int64_t j, double decay) {
    const std::int64_t tk = input.row(n, t, h, K), jk = input.row(n, j, h, K);
    const std::int64_t tv = input.row(n, t, h, V), jv = input.row(n, j, h, V);
    double score = 0, d_score = 0;
    for (std::int64_t x = 0; x < K; ++x) score += input.q[tk + x] * input.k[jk + x];
    for (std::int64_t x = 0; x < V; ++x) d_score += input.d_o[tv + x] * input.v[jv + x];
    score *= decay * input.scale;
    d_score *= decay * input.scale;
    for (std::int64_t x = 0; x < V; ++x) {
      outputs.o[tv + x] += score * input.v[jv + x];
      gradients.dv[jv + x] += score * input.d_o[tv + x];
    }
    for (std::int64_t x = 0; x < K; ++x) {
      gradients.dq[tk + x] += d_score * input.k[jk + x];
      gradients.dk[jk + x] += d_score * input.q[tk + x];
    }
  });
}

void Definition::head_states(std::int64_t n, std::int64_t h) {
  const std::int64_t K = input.key_dim, V = input.value_dim, T = input.length(n);
  for (std::int64_t k = 0; k < K; ++k) {
    for (std::int64_t v = 0; v < V; ++v) {
      const std::int64_t at = ((n * input.heads + h) * K + k) * V + v;
      const double in = input.state_in[at], d_out = input.d_state_out[at];
      const double whole = std::pow(lambda, static_cast<double>(T));
      outputs.state_out[at] += whole * in;
      gradients.d_state_in[at] += whole * d_out;
      for (std::int64_t t = 0; t < T; ++t) {
        const std::int64_t tk = input.row(n, t, h, K) + k, tv = input.row(n, t, h, V) + v;
        const auto from_start = static_cast<double>(position(input, n, t) + 1);
        const double reach = std::pow(lambda, from_start);
        const double rest = std::pow(lambda, static_cast<double>(T) - from_start);
        outputs.o[tv] += input.scale * reach * input.q[tk] * in;
        outputs.state_out[at] += rest * input.k[tk] * input.v[tv];
        gradients.dq[tk] += input.scale * reach * in * input.d_o[tv];
        gradients.d_state_in[at] += input.scale * reach * input.q[tk] * input.d_o[tv];
        gradients.dk[tk] += rest * d_out * input.v[tv];
        gradients.dv[tv] += rest * d_out * input.k[tk];
      }
    }
  }
}

void expect_equal(const std::vector<double>& found, const std::vector<double>& expected,
                  DType dtype, const char* what) {
  ASSERT_EQ(found.size(), expected.size());
  const std::vector<double> kept = rounded(expected, dtype);
  for (std::size_t i = 0; i < found.size(); ++i) {
    ASSERT_EQ(found[i], kept[i]) << what << " element " << i;
  }
}

void check(const Definition& definition, const Variant& variant) {
  const AttentionCase& input = definition.input;
  const DType dtype = variant.dtype;
  const DType state_dtype = dtype == DType::kF64 ? DType::kF64 : DType::kF32;
  const Outputs outputs = run_forward(input, variant);
  expect_equal(outputs.o, definition.outputs.o, dtype, "o");
  // Gradients of scaled inputs leave the range of f16.
  if (dtype == DType::kF16 || (dtype == DType::kBF16 && !variant.on_gpu)) return;
  expect_equal(outputs.state_out, definition.outputs.state_out, state_dtype, "state_out");
  const Gradients gradients = run_backward(input, variant);
  expect_equal(gradients.dq, definition.gradients.dq, dtype, "dq");
  expect_equal(gradients.dk, definition.gradients.dk, dtype, "dk");
  expect_equal(gradients.dv, definition.gradients.dv, dtype, "dv");
  expect_equal(gradients.d_state_in, definition.gradients.d_state_in, state_dtype, "d_state_in");
}

void check(const AttentionCase& input, double lambda, const Variant& variant) {
  Definition definition{input, lambda, {}, {}};
  definition.run();
  check(definition, variant);
}

// Worked out once for all variants.
const Definition& definition_of(std::uint64_t seed, std::int64_t batch, std::int64_t tokens,
                                std::int64_t heads, std::int64_t key_dim, std::int64_t value_dim,
                                double lambda, Direction direction) {
  struct Case {
    AttentionCase input;
    std::unique_ptr<Definition> definition;
  };
  static std::map<std::tuple<std::uint64_t, std::int64_t, double>, Case> cases;
  Case& kept = cases[{seed, tokens, lambda}];
  if (kept.definition == nullptr) {
    kept.input = exact_case(seed, batch, tokens, heads, key_dim, value_dim, lambda, direction);
    kept.definition.reset(new Definition{kept.input, lambda, {}, {}});
    kept.definition->run();
  }
  return *kept.definition;
}

class Exact : public KernelTest {};

TEST_P(Exact, OddSizes) {
  const std::int64_t sizes[][3] = {{1, 1, 1},    {2, 3, 5},    {7, 17, 9},   {33, 5, 37},
                                   {31, 33, 31}, {65, 13, 67}, {97, 35, 65}, {40, 64, 64}};
  std::uint64_t seed = 1;
  for (const auto& [tokens, key_dim, value_dim] : sizes) {
    for (const Direction direction : {Direction::kForward, Direction::kReverse}) {
      for (const double lambda : {0.5, 1.0}) {
        SCOPED_TRACE(testing::Message()
                     << tokens << "x" << key_dim << "x" << value_dim << " λ " << lambda
                     << " reverse " << (direction == Direction::kReverse));
        check(exact_case(++seed, 2, tokens, 3, key_dim, value_dim, lambda, direction), lambda,
              GetParam());
      }
    }
  }
}

TEST_P(Exact, AnyChunk) {
  for (const std::int64_t chunk : {1, 2, 3, 5, 8, 16, 21, 32, 48, 64}) {
    SCOPED_TRACE(testing::Message() << "chunk " << chunk);
    Variant variant = GetParam();
    variant.chunk = chunk;
    check(exact_case(chunk, 1, 67, 2, 19, 23, 0.5, Direction::kForward), 0.5, variant);
  }
}

TEST_P(Exact, AnySlice) {
  for (const std::int64_t slice : {1, 3, 8, 16, 30, 32, 33, 64, 71, 200}) {
    SCOPED_TRACE(testing::Message() << "slice " << slice);
    Variant variant = GetParam();
    variant.value_slice = slice;
    check(exact_case(slice, 1, 35, 2, 21, 71, 0.5, Direction::kReverse), 0.5, variant);
  }
}

TEST_P(Exact, LongWithoutDecay) {
  check(exact_case(3, 1, 301, 1, 32, 33, 1.0, Direction::kForward), 1.0, GetParam());
}

// Widths and lengths of the fast kernels of a GPU. There a weight λ^distance and the value it
// weighs are rounded to 16 bits together, so λ = 1/2 has to end with the first chunk.
class ExactTiles : public KernelTest {};

TEST_P(ExactTiles, WholeAndPartial) {
  const std::int64_t widths[][2] = {{64, 64}, {128, 128}, {256, 128}, {16, 8}, {72, 136}};
  std::uint64_t seed = 20;
  for (const auto& [key_dim, value_dim] : widths) {
    for (const Direction direction : {Direction::kForward, Direction::kReverse}) {
      for (const std::int64_t tokens : {1, 33, 64, 65, 130}) {
        // f16 has no room for values that fall by 2^32.
        const double lambda = tokens == 33 && GetParam().dtype != DType::kF16 ? 0.5 : 1.0;
        SCOPED_TRACE(testing::Message()
                     << tokens << "x" << key_dim << "x" << value_dim << " λ " << lambda
                     << " reverse " << (direction == Direction::kReverse));
        check(definition_of(++seed, 1, tokens, 2, key_dim, value_dim, lambda, direction),
              GetParam());
      }
    }
  }
}

// Long enough for every way to cut it. Keys are unit vectors that come round every key_dim tokens,
// a query asks for one of them: an output is one value of the past, times a power of λ = 1/2.
class ExactLong : public KernelTest {};

struct LookUp {
  AttentionCase input;
  std::vector<double> o;
};

LookUp look_up_case(std::int64_t tokens, std::int64_t key_dim, std::int64_t value_dim) {
  const std::int64_t heads = 2;
  Rng rng(7);
  LookUp result;
  AttentionCase& input = result.input;
  input.tokens = tokens;
  input.heads = heads;
  input.key_dim = key_dim;
  input.value_dim = value_dim;
  input.log_decay.assign(heads, kHalf);
  input.q.assign(tokens * heads * key_dim, 0.0);
  input.k = input.q;
  input.v = integers(rng, tokens * heads * value_dim);
  result.o.assign(input.v.size(), 0.0);
  const auto key = [&](std::int64_t t, std::int64_t h) { return (t * 37 + h * 11) % key_dim; };
  for (std::int64_t t = 0; t < tokens; ++t) {
    for (std::int64_t h = 0; h < heads; ++h) {
      const std::int64_t row = (t * heads + h) * key_dim;
      input.k[row + key(t, h)] = 2;
      const auto age = static_cast<std::int64_t>(rng.below(std::min(t + 1, key_dim)));
      input.q[row + key(t - age, h)] = 3;
      for (std::int64_t v = 0; v < value_dim; ++v) {
        double sum = 0;  // what is key_dim tokens older is 2^-key_dim smaller
        for (std::int64_t past = age; past <= t; past += key_dim) {
          sum += 6 * std::exp2(-static_cast<double>(past)) *
                 input.v[((t - past) * heads + h) * value_dim + v];
        }
        result.o[(t * heads + h) * value_dim + v] = sum;
      }
    }
  }
  return result;
}

TEST_P(ExactLong, LooksUpThePast) {
  const std::int64_t widths[][2] = {{64, 64}, {128, 128}, {256, 128}};
  for (const auto& [key_dim, value_dim] : widths) {
    SCOPED_TRACE(key_dim);
    const LookUp expected = look_up_case(1003, key_dim, value_dim);
    const Outputs found = run_forward(expected.input, GetParam());
    const std::vector<double> kept = rounded(expected.o, GetParam().dtype);
    // What may be taken as forgotten; in f16 also the smallest numbers there are.
    const double bound = GetParam().dtype == DType::kF16 ? 1e-6 : 1e-18;
    for (std::size_t i = 0; i < kept.size(); ++i) {
      ASSERT_NEAR(found.o[i], kept[i], bound) << "element " << i;
    }
  }
}

TEST_P(ExactLong, WithoutDecay) {
  for (const Direction direction : {Direction::kForward, Direction::kReverse}) {
    const std::uint64_t seed = direction == Direction::kForward ? 1000 : 1001;
    check(definition_of(seed, 1, 521, 2, 64, 64, 1.0, direction), GetParam());
  }
  check(definition_of(1002, 2, 333, 1, 128, 128, 1.0, Direction::kForward), GetParam());
}

class ExactHalf : public KernelTest {};

// fp32 sums are exact, so the output is the expected one, rounded once.
TEST_P(ExactHalf, RoundsOnce) {
  for (const DType dtype : {DType::kBF16, DType::kF16}) {
    Variant variant = GetParam();
    variant.dtype = dtype;
    SCOPED_TRACE(std::string(dtype_name(dtype)));
    check(exact_case(5, 2, 47, 2, 19, 37, 1.0, Direction::kForward), 1.0, variant);
    check(exact_case(6, 2, 11, 2, 33, 16, 0.5, Direction::kReverse), 0.5, variant);
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, Exact, testing::ValuesIn(all_kernels()),
                         [](const auto& info) { return name_of(info.param); });
INSTANTIATE_TEST_SUITE_P(Kernels, ExactHalf, testing::ValuesIn(fast_kernels()),
                         [](const auto& info) { return name_of(info.param); });
INSTANTIATE_TEST_SUITE_P(Kernels, ExactTiles, testing::ValuesIn(fast_kernels()),
                         [](const auto& info) { return name_of(info.param); });
INSTANTIATE_TEST_SUITE_P(Gpu, ExactTiles, testing::ValuesIn(gpu_kernels()),
                         [](const auto& info) { return name_of(info.param); });
INSTANTIATE_TEST_SUITE_P(Kernels, ExactLong, testing::ValuesIn(fast_kernels()),
                         [](const auto& info) { return name_of(info.param); });
INSTANTIATE_TEST_SUITE_P(Gpu, ExactLong, testing::ValuesIn(gpu_kernels()),
                         [](const auto& info) { return name_of(info.param); });
INSTANTIATE_TEST_SUITE_P(GpuSegments, ExactLong, testing::ValuesIn(gpu_segments()),
                         [](const auto& info) { return name_of(info.param); });
INSTANTIATE_TEST_SUITE_P(Segments, Exact, testing::ValuesIn(cpu_segments()),
                         [](const auto& info) { return name_of(info.param); });
INSTANTIATE_TEST_SUITE_P(Segments, ExactHalf, testing::ValuesIn(cpu_segments()),
                         [](const auto& info) { return name_of(info.param); });
INSTANTIATE_TEST_SUITE_P(Segments, ExactLong, testing::ValuesIn(cpu_segments()),
                         [](const auto& info) { return name_of(info.param); });

}  // namespace
}  // namespace tnl::test
