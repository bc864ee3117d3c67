#include <gtest/gtest.h>

#include "stored.h"

namespace tnl::test {
namespace {

struct Shape {
  std::int64_t m, n, k;
};

struct Operands {
  Table a, b, c;

  Operands(MatmulForm form, const Shape& s) {
    Rng rng(static_cast<std::uint64_t>(s.m * 10007 + s.n * 101 + s.k));
    a = form == MatmulForm::kTN ? random_table(rng, s.k, s.m) : random_table(rng, s.m, s.k);
    b = form == MatmulForm::kNT ? random_table(rng, s.n, s.k) : random_table(rng, s.k, s.n);
    c = random_table(rng, s.m, s.n);
  }
};

// Gradients of parameters, the products of the form TN, are sums in their own dtype.
Stored output(Backend& backend, MatmulForm form, const Shape& shape, const Operands& operands,
              double beta) {
  const DType dtype = form == MatmulForm::kTN ? backend.sum_dtype() : backend.compute_dtype();
  if (beta == 0) return Stored(backend, dtype, shape.m, shape.n);
  return Stored(backend, dtype, operands.c);
}

class Matmul : public testing::TestWithParam<MatmulForm> {};

// Random signs, so sums grow with the root of their length: the bound holds for all of these.
constexpr double kBound = 1e-6;

TEST_P(Matmul, MatchesReference) {
  for (const Shape& shape : std::vector<Shape>{{1, 1, 1},
                                               {1, 50, 33},
                                               {2, 17, 64},
                                               {3, 5, 7},
                                               {4, 100, 129},
                                               {5, 33, 16},
                                               {11, 30, 50},
                                               {16, 21, 40},
                                               {17, 19, 23},
                                               {64, 64, 64},
                                               {300, 40, 70},
                                               {128, 264, 512},
                                               {40, 300, 70}}) {
    const Operands operands(GetParam(), shape);
    for (const auto& factors : std::vector<std::pair<double, double>>{{1, 0}, {1, 1}, {-0.5, 2}}) {
      const double alpha = factors.first, beta = factors.second;
      compare(kBound, false, "matmul", [&](Backend& backend) {
        const DType dtype = backend.compute_dtype();
        Stored a(backend, dtype, operands.a), b(backend, dtype, operands.b);
        Stored c = output(backend, GetParam(), shape, operands, beta);
        backend.matmul(GetParam(), alpha, a.matrix(), b.matrix(), beta, c.matrix());
        return std::vector<Table>{c.table()};
      });
    }
  }
}

TEST_P(Matmul, WidensStoredWeights) {
  for (const Shape& shape :
       std::vector<Shape>{{1, 70, 33}, {3, 8, 100}, {20, 50, 33}, {9, 40, 9000}}) {
    const Operands operands(GetParam(), shape);
    for (const DType weights : {DType::kBF16, DType::kF16}) {
      for (const double beta : {0.0, 1.0}) {
        compare(kBound, false, "matmul with 16-bit weights", [&](Backend& backend) {
          const DType dtype = backend.compute_dtype();
          Stored a(backend, dtype, operands.a), b(backend, weights, operands.b);
          Stored c = output(backend, GetParam(), shape, operands, beta);
          backend.matmul(GetParam(), 1, a.matrix(), b.matrix(), beta, c.matrix());
          return std::vector<Table>{c.table()};
        });
      }
    }
  }
}

TEST_P(Matmul, EmptyExtents) {
  for (const Shape& shape : std::vector<Shape>{{0, 5, 4}, {5, 0, 4}, {3, 5, 0}, {8, 5, 0}}) {
    const Operands operands(GetParam(), shape);
    for (const double beta : {0.0, 0.5}) {
      compare(1e-7, false, "empty matmul", [&](Backend& backend) {
        const DType dtype = backend.compute_dtype();
        Stored a(backend, dtype, operands.a), b(backend, dtype, operands.b);
        Stored c = output(backend, GetParam(), shape, operands, beta);
        backend.matmul(GetParam(), 1, a.matrix(), b.matrix(), beta, c.matrix());
        return std::vector<Table>{c.table()};
      });
    }
  }
}

// Small integers: every backend and every thread count gives exactly the product.
TEST_P(Matmul, IsExactOnIntegers) {
  const Shape shape{37, 53, 41};
  Operands operands(GetParam(), shape);
  for (double& value : operands.a.values) value = std::round(3 * value);
  for (double& value : operands.b.values) value = std::round(3 * value);
  compare(0, true, "exact matmul", [&](Backend& backend) {
    const DType dtype = backend.compute_dtype();
    Stored a(backend, dtype, operands.a), b(backend, dtype, operands.b);
    Stored c = output(backend, GetParam(), shape, operands, 0);
    backend.matmul(GetParam(), 1, a.matrix(), b.matrix(), 0, c.matrix());
    return std::vector<Table>{c.table()};
  });
}

TEST(MatmulOnto, AddsTheResidualWhereverItLies) {
  for (const Shape& shape : std::vector<Shape>{{1, 24, 40}, {3, 17, 9}, {70, 64, 32}}) {
    const Operands operands(MatmulForm::kNT, shape);
    compare(kBound, true, "matmul_onto", [&](Backend& backend) {
      const DType dtype = backend.compute_dtype();
      Stored a(backend, dtype, operands.a), b(backend, dtype, operands.b);
      Stored residual(backend, dtype, operands.c), c(backend, dtype, shape.m, shape.n);
      backend.matmul_onto(residual.matrix(), a.matrix(), b.matrix(), c.matrix());
      EXPECT_EQ(residual.table().values, operands.c.values);
      backend.matmul_onto(residual.matrix(), a.matrix(), b.matrix(), residual.matrix());
      return std::vector<Table>{c.table(), residual.table()};
    });
  }
}

INSTANTIATE_TEST_SUITE_P(Forms, Matmul,
                         testing::Values(MatmulForm::kNT, MatmulForm::kNN, MatmulForm::kTN),
                         [](const auto& info) {
                           return info.param == MatmulForm::kNT   ? "NT"
                                  : info.param == MatmulForm::kNN ? "NN"
                                                                  : "TN";
                         });

TEST(MatmulByHand, Forms) {
  Table a(2, 2), b(2, 2);
  a.values = {1, 2, 3, 4};
  b.values = {5, 6, 7, 8};
  const auto product = [&](Backend& backend, MatmulForm form) {
    const DType dtype = backend.compute_dtype();
    Stored left(backend, dtype, a), right(backend, dtype, b), c(backend, dtype, 2, 2);
    backend.matmul(form, 1, left.matrix(), right.matrix(), 0, c.matrix());
    return c.table();
  };
  compare(0, true, "by hand", [&](Backend& backend) {
    EXPECT_EQ(product(backend, MatmulForm::kNT).values, (std::vector<double>{17, 23, 39, 53}));
    EXPECT_EQ(product(backend, MatmulForm::kNN).values, (std::vector<double>{19, 22, 43, 50}));
    EXPECT_EQ(product(backend, MatmulForm::kTN).values, (std::vector<double>{26, 30, 38, 44}));
    return std::vector<Table>{};
  });
}

}  // namespace
}  // namespace tnl::test
