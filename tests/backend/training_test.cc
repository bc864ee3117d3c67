#include <gtest/gtest.h>

#include <limits>
#include <optional>

#include "stored.h"

namespace tnl::test {
namespace {

Table row_of(const std::vector<double>& values) {
  Table table(1, static_cast<std::int64_t>(values.size()));
  table.values = values;
  return table;
}

TEST(CopyAndProduct, MatchReference) {
  Rng rng(1);
  for (const auto& shape : std::vector<std::pair<int, int>>{{0, 3}, {1, 1}, {7, 17}, {100, 200}}) {
    const int rows = shape.first, cols = shape.second;
    const Table a = random_table(rng, rows, cols), b = random_table(rng, rows, cols);
    const Table dy = random_table(rng, rows, cols);
    compare(1e-7, true, "product", [&](Backend& backend) {
      const DType dtype = backend.compute_dtype();
      Stored left(backend, dtype, a), right(backend, dtype, b), slope(backend, dtype, dy),
          y(backend, dtype, rows, cols);
      Stored da(backend, dtype, rows, cols), db(backend, dtype, rows, cols);
      Stored same(backend, dtype, rows, cols), once_more(backend, dtype, rows, cols);
      backend.product(left.matrix(), right.matrix(), y.matrix());
      backend.product_backward(left.matrix(), right.matrix(), slope.matrix(), da.matrix(),
                               db.matrix(), once_more.matrix());
      EXPECT_EQ(once_more.table().values, y.table().values);
      backend.copy(left.matrix(), same.matrix());
      EXPECT_EQ(same.table().values, a.values);
      const Table d_left = da.table(), d_right = db.table();
      for (std::size_t i = 0; i < a.values.size(); ++i) {
        EXPECT_NEAR(d_left.values[i], dy.values[i] * b.values[i], allowed(backend, 1e-5, 8));
        EXPECT_NEAR(d_right.values[i], dy.values[i] * a.values[i], allowed(backend, 1e-5, 8));
      }
      return std::vector<Table>{y.table(), d_left, d_right};
    });
  }
}

TEST(Embed, TakesScaledRows) {
  Rng rng(2);
  const std::vector<std::int32_t> ids = {5, 0, 0, 3};
  for (const auto& [stored, width] :
       std::vector<std::pair<DType, std::int64_t>>{{DType::kF32, 37},
                                                   {DType::kBF16, 37},
                                                   {DType::kF16, 37},
                                                   {DType::kF32, 64},
                                                   {DType::kBF16, 64},
                                                   {DType::kF16, 64}}) {
    const Table table = random_table(rng, 6, width);
    compare(1e-7, true, "embed", [&, stored = stored, width = width](Backend& backend) {
      Stored weights(backend, stored, table), out(backend, backend.compute_dtype(), 4, width);
      const Array<std::int32_t> tokens(backend, ids);
      backend.embed(weights.matrix(), tokens.span(), 32, out.matrix());
      const Table found = out.table();
      for (std::int64_t t = 0; t < 4; ++t) {
        for (std::int64_t i = 0; i < width; ++i) {
          // A power of two times a stored value is exact; f16 rounds small ones when stored.
          if (stored != DType::kF16) {
            EXPECT_EQ(found.at(t, i), 32 * table.at(ids[t], i));
          }
        }
      }
      return std::vector<Table>{found};
    });
  }
}

TEST(Embed, BackwardAddsUpRepeatedTokens) {
  Rng rng(3);
  std::vector<std::int32_t> ids;
  for (int t = 0; t < 300; ++t) ids.push_back(static_cast<std::int32_t>(rng.below(5)));
  for (const std::int64_t width : {75, 1088}) {
    const Table d_out = random_table(rng, 300, width), before = random_table(rng, 5, width);
    for (const std::int64_t skip : {-1, 2}) {
      compare(5e-7, true, "embed_backward", [&](Backend& backend) {
        Stored slope(backend, backend.compute_dtype(), d_out);
        Stored table(backend, backend.sum_dtype(), before);
        const Array<std::int32_t> tokens(backend, ids);
        backend.embed_backward(slope.matrix(), tokens.span(), 0.7, skip, table.matrix());
        const Table found = table.table();
        for (std::int64_t i = 0; i < width; ++i) {
          EXPECT_EQ(found.at(2, i) == before.at(2, i), skip == 2);
        }
        return std::vector<Table>{found};
      });
    }
  }
}

std::vector<Table> loss_and_gradient(Backend& backend, const Table& logits,
                                     const std::vector<std::int32_t>& targets,
                                     std::optional<double> d_scale) {
  Stored z(backend, backend.compute_dtype(), logits);
  const Array<double> losses(backend, std::vector<double>(targets.size(), -1));
  const Array<std::int32_t> wanted(backend, targets);
  const Array<double> scale(backend, {d_scale.value_or(0)});
  backend.cross_entropy(z.matrix(), wanted.span(), d_scale ? scale.span().data() : nullptr,
                        losses.span());
  return {row_of(losses.values()), z.table()};
}

TEST(CrossEntropy, MatchesReference) {
  Rng rng(4);
  for (const std::int64_t vocabulary : {1, 7, 64, 1000, 5000}) {
    const Table logits = random_table(rng, 9, vocabulary, 4);
    std::vector<std::int32_t> targets;
    for (int t = 0; t < 9; ++t) {
      targets.push_back(t % 4 == 2 ? -1 : static_cast<std::int32_t>(rng.below(vocabulary)));
    }
    for (const std::optional<double> d_scale :
         {std::optional<double>(), std::optional(0.0), std::optional(0.125)}) {
      compare(5e-7, true, "cross_entropy", [&](Backend& backend) {
        auto result = loss_and_gradient(backend, logits, targets, d_scale);
        EXPECT_EQ(result[0].values[2], 0);
        if (!d_scale) {
          EXPECT_EQ(result[1].values, logits.values);  // untouched
        } else {
          EXPECT_EQ(result[1].at(2, vocabulary - 1), 0);  // an ignored row
        }
        return result;
      });
    }
  }
}

TEST(CrossEntropy, ByHand) {
  // Three equal logits: ln 3, and a gradient of 1/3 each, less one at the target.
  compare(1e-7, true, "by hand", [&](Backend& backend) {
    const auto result = loss_and_gradient(backend, Table(1, 3, 1000), {1}, 3);
    EXPECT_NEAR(result[0].values[0], std::log(3.0), 1e-7);
    EXPECT_NEAR(result[1].values[0], 1, allowed(backend, 1e-6));
    EXPECT_NEAR(result[1].values[1], -2, allowed(backend, 1e-6, 2));
    return result;
  });
}

// A sure and right prediction: the small loss and gradient keep their digits.
TEST(CrossEntropy, KeepsSmallLosses) {
  Table logits(1, 3, 0);
  logits.values[0] = 20;
  compare(1e-4, true, "small loss", [&](Backend& backend) {
    const auto result = loss_and_gradient(backend, logits, {0}, 1);
    EXPECT_NEAR(result[0].values[0] / (2 * std::exp(-20.0)), 1, 1e-4);
    EXPECT_NEAR(result[1].values[0] / (-2 * std::exp(-20.0)), 1, allowed(backend, 1e-4));
    return result;
  });
}

TEST(CrossEntropy, TakesLargeLogits) {
  Table logits(1, 20, -3e4);
  logits.values[19] = 3e4;
  compare(1e-6, true, "large logits", [&](Backend& backend) {
    const auto result = loss_and_gradient(backend, logits, {0}, 1);
    EXPECT_NEAR(result[0].values[0], 6e4, allowed(backend, 0, 6e4));
    return result;
  });
}

TEST(CrossEntropy, GradientIsTheDerivative) {
  Rng rng(5);
  const Device device = Device::open("reference").value();
  Table logits = random_table(rng, 3, 6);
  const std::vector<std::int32_t> targets = {2, -1, 5};
  const auto result = loss_and_gradient(device.backend(), logits, targets, 0.3);
  expect_gradient(logits, result[1], "cross_entropy", [&] {
    const auto moved = loss_and_gradient(device.backend(), logits, targets, {});
    return 0.3 * (moved[0].values[0] + moved[0].values[1] + moved[0].values[2]);
  });
}

std::vector<float> floats(Rng& rng, std::size_t count, double scale) {
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(scale * rng.normal());
  return values;
}

Table table_of(const std::vector<float>& values) {
  return row_of({values.begin(), values.end()});
}

TEST(AdamW, MatchesReference) {
  Rng rng(6);
  for (const std::size_t count :
       {std::size_t{0}, std::size_t{1}, std::size_t{37}, std::size_t{20000}}) {
    const auto parameters = floats(rng, count, 1), first = floats(rng, count, 0.1);
    auto second = floats(rng, count, 0.1);
    for (float& value : second) value *= value;
    for (const std::int64_t step : {1, 10, 100000}) {
      const auto gradients = floats(rng, count, 0.1);
      compare(3e-7, true, "adamw", [&](Backend& backend) {
        const Array<float> p(backend, parameters), m(backend, first), v(backend, second);
        const Array<float> g(backend, gradients);
        backend.adamw({.parameters = p.span(),
                       .gradients = g.span(),
                       .first_moment = m.span(),
                       .second_moment = v.span(),
                       .learning_rate = 0.01f,
                       .beta1 = 0.9f,
                       .beta2 = 0.95f,
                       .epsilon = 1e-8f,
                       .weight_decay = 0.1f,
                       .gradient_scale = 0.5f,
                       .step = step});
        return std::vector<Table>{table_of(p.values()), table_of(m.values()), table_of(v.values())};
      });
    }
  }
}

TEST(AdamW, ByHand) {
  // First step from zero moments: the direction is the gradient's sign, whatever its size.
  compare(1e-7, true, "by hand", [&](Backend& backend) {
    const Array<float> parameters(backend, {1, 2}), gradients(backend, {1e-3f, -50});
    const Array<float> first(backend, {0, 0}), second(backend, {0, 0});
    backend.adamw({.parameters = parameters.span(),
                   .gradients = gradients.span(),
                   .first_moment = first.span(),
                   .second_moment = second.span(),
                   .learning_rate = 0.1f,
                   .beta1 = 0.9f,
                   .beta2 = 0.75f,
                   .epsilon = 0,
                   .weight_decay = 0.5f});
    const auto p = parameters.values(), m = first.values(), v = second.values();
    EXPECT_NEAR(p[0], 1 - 0.1 * 0.5 * 1 - 0.1, 1e-6);
    EXPECT_NEAR(p[1], 2 - 0.1 * 0.5 * 2 + 0.1, 1e-6);
    EXPECT_NEAR(m[1], -5, 1e-6);
    EXPECT_NEAR(v[1], 625, 1e-4);
    return std::vector<Table>{table_of(p)};
  });
}

TEST(SumOfSquares, IsExactEnoughAndTheSameOnAnyThreads) {
  Rng rng(7);
  for (const std::size_t count :
       {std::size_t{0}, std::size_t{1}, std::size_t{45}, std::size_t{300001}}) {
    const auto values = floats(rng, count, 1);
    compare(1e-12, true, "sum_of_squares", [&](Backend& backend) {
      const Array<float> array(backend, values);
      return std::vector<Table>{row_of({backend.sum_of_squares(array.span())})};
    });
  }
  // Past the range of fp32.
  const std::vector<float> large(100, 1e30f);
  compare(1e-15, true, "large squares", [&](Backend& backend) {
    const Array<float> array(backend, large);
    EXPECT_NEAR(backend.sum_of_squares(array.span()) / 1e62, 1, 1e-6);
    return std::vector<Table>{};
  });
}

}  // namespace
}  // namespace tnl::test
