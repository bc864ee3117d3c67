#include <gtest/gtest.h>

#include <tuple>

#include "stored.h"

namespace tnl::test {
namespace {

// silu_v, silu_qk, LRPE, mask
using Flags = std::tuple<bool, bool, bool, bool>;

struct Problem {
  std::int64_t tokens, heads, head_dim, extra;  // extra columns behind q | k | v
  bool silu_v, silu_qk, lrpe, masked;
  Table y, theta;
  std::vector<std::int64_t> positions;
  std::vector<std::uint8_t> mask;

  Problem(const Flags& flags, std::int64_t tokens, std::int64_t heads, std::int64_t head_dim)
      : tokens(tokens), heads(heads), head_dim(head_dim), extra(2) {
    std::tie(silu_v, silu_qk, lrpe, masked) = flags;
    Rng rng(static_cast<std::uint64_t>(tokens * 1000 + heads * 100 + head_dim));
    y = random_table(rng, tokens, 3 * width() + extra, 2);
    theta = random_table(rng, 1, width(), 0.3);
    for (std::int64_t t = 0; t < tokens; ++t) {
      positions.push_back(t * 3);
      mask.push_back(t % 3 == 1 ? 0 : 1);
    }
  }
  std::int64_t width() const { return heads * head_dim; }
  std::int64_t keys() const { return lrpe ? 2 * width() : width(); }

  // Positions and mask in the memory of a backend.
  struct Inputs {
    Array<std::int64_t> positions;
    Array<std::uint8_t> mask;
  };
  Inputs inputs(Backend& backend) const { return {{backend, positions}, {backend, mask}}; }

  SplitArgs args(Stored& projection, Stored& stored_theta, DType theta_dtype,
                 const Inputs& inputs) const {
    SplitArgs result;
    result.projection = projection.matrix();
    result.heads = heads;
    result.head_dim = head_dim;
    result.silu_v = silu_v;
    result.silu_qk = silu_qk;
    if (lrpe) {
      result.theta = stored_theta.matrix().data;
      result.theta_dtype = theta_dtype;
      result.positions = inputs.positions.span();
    }
    if (masked) result.mask = inputs.mask.span();
    return result;
  }

  // q, k, v
  std::vector<Table> forward(Backend& backend, DType theta_dtype) const {
    const DType dtype = backend.compute_dtype();
    Stored projection(backend, dtype, y), stored_theta(backend, theta_dtype, theta);
    Stored q(backend, dtype, tokens, keys()), k(backend, dtype, tokens, keys()),
        v(backend, dtype, tokens, width());
    const Inputs uploaded = inputs(backend);
    SplitArgs split = args(projection, stored_theta, theta_dtype, uploaded);
    split.q = q.matrix();
    split.k = k.matrix();
    split.v = v.matrix();
    backend.split(split);
    return {q.table(), k.table(), v.table()};
  }

  // d_projection's three blocks, and d_theta, which begins at `theta_before`.
  std::vector<Table> backward(Backend& backend, const std::vector<Table>& d_out,
                              double theta_before) const {
    const DType dtype = backend.compute_dtype();
    Stored projection(backend, dtype, y), stored_theta(backend, dtype, theta);
    Stored dq(backend, dtype, d_out[0]), dk(backend, dtype, d_out[1]), dv(backend, dtype, d_out[2]);
    Stored d_projection(backend, dtype, Table(tokens, y.cols, 77));
    Stored d_theta(backend, backend.sum_dtype(), Table(1, width(), theta_before));
    const Inputs uploaded = inputs(backend);
    SplitArgs split = args(projection, stored_theta, dtype, uploaded);
    split.q = dq.matrix();
    split.k = dk.matrix();
    split.v = dv.matrix();
    backend.split_backward(split, d_projection.matrix(), lrpe ? d_theta.matrix() : Matrix{});
    Table all = d_projection.table();
    Table blocks(tokens, 3 * width());
    for (std::int64_t t = 0; t < tokens; ++t) {
      for (std::int64_t i = 0; i < all.cols; ++i) {
        if (i < blocks.cols) {
          blocks.at(t, i) = all.at(t, i);
        } else {
          EXPECT_EQ(all.at(t, i), 77) << "the fourth block was written";
        }
      }
    }
    return {blocks, d_theta.table()};
  }

  std::vector<Table> output_gradients() const {
    Rng rng(9);
    return {random_table(rng, tokens, keys()), random_table(rng, tokens, keys()),
            random_table(rng, tokens, width())};
  }
};

class Split : public testing::TestWithParam<Flags> {};

TEST_P(Split, MatchesReference) {
  for (const auto& [tokens, heads, head_dim] : std::vector<std::tuple<int, int, int>>{
           {0, 1, 4}, {1, 1, 1}, {5, 3, 5}, {200, 2, 20}, {150, 3, 16}}) {
    const Problem problem(GetParam(), tokens, heads, head_dim);
    const auto d_out = problem.output_gradients();
    compare(5e-7, true, "split",
            [&](Backend& backend) { return problem.forward(backend, backend.compute_dtype()); });
    compare(1e-6, true, "split_backward",
            [&](Backend& backend) { return problem.backward(backend, d_out, 0.5); });
  }
}

TEST_P(Split, BackwardIsTheDerivative) {
  Problem problem(GetParam(), 4, 2, 3);
  const Device device = Device::open("reference").value();
  const auto d_out = problem.output_gradients();
  const auto gradients = problem.backward(device.backend(), d_out, 0);
  const auto loss = [&] {
    const auto out = problem.forward(device.backend(), DType::kF64);
    return dot(out[0], d_out[0]) + dot(out[1], d_out[1]) + dot(out[2], d_out[2]);
  };
  Table d_y(problem.tokens, problem.y.cols);  // zeros behind the three blocks
  for (std::int64_t t = 0; t < problem.tokens; ++t) {
    for (std::int64_t i = 0; i < gradients[0].cols; ++i) d_y.at(t, i) = gradients[0].at(t, i);
  }
  expect_gradient(problem.y, d_y, "split, projection", loss);
  if (problem.lrpe) expect_gradient(problem.theta, gradients[1], "split, theta", loss);
}

INSTANTIATE_TEST_SUITE_P(Flags, Split,
                         testing::Combine(testing::Bool(), testing::Bool(), testing::Bool(),
                                          testing::Bool()));

TEST(SplitLayout, ByHand) {
  Problem problem({false, false, true, true}, 2, 2, 2);
  for (std::size_t i = 0; i < problem.y.values.size(); ++i) {
    problem.y.values[i] = static_cast<double>(i + 1);
  }
  problem.theta.values = {0.5, 0.25, 0.125, 0};
  problem.positions = {0, 2};
  compare(2e-7, true, "split by hand", [&](Backend& backend) {
    const auto out = problem.forward(backend, backend.compute_dtype());
    // Position 0: every cosine is 1, every sine 0. Head 1 begins at column 4.
    EXPECT_EQ(out[0].values[0], 1);
    EXPECT_EQ(out[0].values[2], 0);
    EXPECT_EQ(out[0].values[4], 3);
    EXPECT_EQ(out[1].values[5], 8);
    EXPECT_EQ(out[2].at(0, 3), 12);
    EXPECT_EQ(out[2].at(1, 3), 0);                                                // masked
    EXPECT_NEAR(out[0].at(1, 0), 15 * std::cos(1.0), allowed(backend, 2e-6, 8));  // θ p = 1
    EXPECT_NEAR(out[0].at(1, 2), 15 * std::sin(1.0), allowed(backend, 2e-6, 16));
    EXPECT_NEAR(out[0].at(1, 5), 18, allowed(backend, 2e-6, 18));  // θ = 0
    return out;
  });
}

// Phases of millions of radians, of either sign, and stored frequencies of every dtype.
TEST(SplitLayout, FarPositions) {
  Problem problem({false, true, true, false}, 8, 2, 24);
  problem.positions = {0, 1, 255, 65535, 1000003, 16777217, 123456789, 4294967311};
  for (std::size_t i = 0; i < problem.theta.values.size(); i += 3) problem.theta.values[i] = 1;
  for (const DType theta : {DType::kF32, DType::kBF16, DType::kF16}) {
    if (theta == DType::kF16) problem.theta = Table(1, problem.width(), 0.75);
    compare(6e-7, true, "far positions",
            [&](Backend& backend) { return problem.forward(backend, theta); });
  }
  const auto d_out = problem.output_gradients();
  problem.positions.assign(8, 4000000);
  compare(1e-6, true, "far positions, backward",
          [&](Backend& backend) { return problem.backward(backend, d_out, 0); });
}

TEST(SplitLayout, LargeInputsStayNumbers) {
  Problem problem({true, true, false, false}, 1, 1, 8);
  for (std::size_t i = 0; i < problem.y.values.size(); ++i) {
    const double large[] = {-1e30, -1e4, -104, -88.5, 88.5, 104, 1e4, 1e30};
    problem.y.values[i] = large[i % 8];
  }
  compare(1e-6, true, "large", [&](Backend& backend) {
    auto out = problem.forward(backend, backend.compute_dtype());
    for (std::size_t i = 0; i < 4; ++i) EXPECT_NEAR(out[0].values[i], 0, 1e-35);
    return out;
  });
  const std::vector<Table> d_out = {Table(1, 8, 1), Table(1, 8, 1), Table(1, 8, 1)};
  compare(1e-6, true, "large, backward",
          [&](Backend& backend) { return problem.backward(backend, d_out, 0); });
}

}  // namespace
}  // namespace tnl::test
