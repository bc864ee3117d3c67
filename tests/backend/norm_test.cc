#include <gtest/gtest.h>

#include "stored.h"

namespace tnl::test {
namespace {

constexpr double kEps = 1e-6;

struct Shape {
  std::int64_t rows, cols;
};
const std::vector<Shape> kShapes = {{0, 8},  {1, 1},    {3, 7},    {2, 16},  {5, 33},
                                    {4, 64}, {70, 100}, {9, 1000}, {3, 2816}};

std::string label(const Shape& shape) {
  return std::to_string(shape.rows) + "x" + std::to_string(shape.cols);
}

TEST(Norm, MatchesReference) {
  Rng rng(1);
  for (const Shape& shape : kShapes) {
    const Table x = random_table(rng, shape.rows, shape.cols, 3);
    compare(3e-7, true, "srmsnorm " + label(shape), [&](Backend& backend) {
      const DType dtype = backend.compute_dtype();
      Stored in(backend, dtype, x), out(backend, dtype, shape.rows, shape.cols);
      backend.srmsnorm(in.matrix(), kEps, out.matrix());
      backend.srmsnorm(in.matrix(), kEps, in.matrix());  // in place
      return std::vector<Table>{out.table(), in.table()};
    });
  }
}

TEST(Norm, RowOfZerosStaysZero) {
  compare(0, true, "srmsnorm of zeros", [&](Backend& backend) {
    const DType dtype = backend.compute_dtype();
    Stored x(backend, dtype, Table(2, 20)), dy(backend, dtype, Table(2, 20)),
        out(backend, dtype, 2, 20), dx(backend, dtype, 2, 20);
    backend.srmsnorm(x.matrix(), kEps, out.matrix());
    backend.srmsnorm_backward(x.matrix(), dy.matrix(), kEps, false, dx.matrix());
    return std::vector<Table>{out.table(), dx.table()};
  });
}

TEST(Norm, ByHand) {
  // mean(x²) = 12.5, so 3 becomes 3 / sqrt(12.5 + 12.5).
  compare(1e-7, true, "srmsnorm by hand", [&](Backend& backend) {
    Table x(1, 2);
    x.values = {3, 4};
    Stored in(backend, backend.compute_dtype(), x);
    backend.srmsnorm(in.matrix(), 12.5, in.matrix());
    EXPECT_NEAR(in.table().values[0], 0.6, allowed(backend, 1e-7));
    EXPECT_NEAR(in.table().values[1], 0.8, allowed(backend, 1e-7));
    return std::vector<Table>{in.table()};
  });
}

TEST(Norm, BackwardMatchesReference) {
  Rng rng(2);
  for (const Shape& shape : kShapes) {
    const Table x = random_table(rng, shape.rows, shape.cols, 0.5);
    const Table dy = random_table(rng, shape.rows, shape.cols);
    const Table before = random_table(rng, shape.rows, shape.cols);
    // The gradient of a row of one is all cancellation: its bound is that of dy / rms.
    const double bound = shape.cols == 1 ? 1 : 1e-6;
    compare(bound, true, "srmsnorm_backward " + label(shape), [&](Backend& backend) {
      const DType dtype = backend.compute_dtype();
      Stored in(backend, dtype, x), slope(backend, dtype, dy),
          out(backend, dtype, shape.rows, shape.cols);
      Stored sum(backend, dtype, before), in_place(backend, dtype, dy);
      Stored normed(backend, dtype, shape.rows, shape.cols),
          again(backend, dtype, shape.rows, shape.cols);
      backend.srmsnorm(in.matrix(), kEps, normed.matrix());
      backend.srmsnorm_backward(in.matrix(), slope.matrix(), kEps, false, out.matrix(),
                                again.matrix());
      EXPECT_EQ(again.table().values, normed.table().values);
      backend.srmsnorm_backward(in.matrix(), slope.matrix(), kEps, true, sum.matrix());
      backend.srmsnorm_backward(in.matrix(), in_place.matrix(), kEps, false, in_place.matrix());
      EXPECT_EQ(in_place.table().values, out.table().values);
      return std::vector<Table>{out.table(), sum.table()};
    });
  }
}

TEST(Norm, BackwardIsTheDerivative) {
  Rng rng(3);
  const Device device = Device::open("reference").value();
  Backend& backend = device.backend();
  Table x = random_table(rng, 3, 5);
  const Table dy = random_table(rng, 3, 5);
  const double eps = 0.1;  // large enough to count
  Stored in(backend, DType::kF64, x), slope(backend, DType::kF64, dy),
      dx(backend, DType::kF64, 3, 5);
  backend.srmsnorm_backward(in.matrix(), slope.matrix(), eps, false, dx.matrix());
  expect_gradient(x, dx.table(), "srmsnorm", [&] {
    Stored moved(backend, DType::kF64, x), y(backend, DType::kF64, 3, 5);
    backend.srmsnorm(moved.matrix(), eps, y.matrix());
    return dot(y.table(), dy);
  });
}

class Gate : public testing::TestWithParam<GateKind> {};

TEST_P(Gate, MatchesReference) {
  Rng rng(4);
  for (const Shape& shape : kShapes) {
    const Table o = random_table(rng, shape.rows, shape.cols, 2);
    const Table u = random_table(rng, shape.rows, shape.cols, 3);
    const Table dy = random_table(rng, shape.rows, shape.cols);
    const std::string what = "norm_gate " + label(shape);
    compare(6e-7, true, what, [&](Backend& backend) {
      const DType dtype = backend.compute_dtype();
      Stored in(backend, dtype, o), gate(backend, dtype, u),
          y(backend, dtype, shape.rows, shape.cols);
      backend.norm_gate(GetParam(), in.matrix(), gate.matrix(), kEps, y.matrix());
      return std::vector<Table>{y.table()};
    });
    compare(shape.cols == 1 ? 1 : 1e-6, true, what + " backward", [&](Backend& backend) {
      const DType dtype = backend.compute_dtype();
      Stored in(backend, dtype, o), gate(backend, dtype, u), slope(backend, dtype, dy);
      Stored d_o(backend, dtype, shape.rows, shape.cols),
          d_u(backend, dtype, shape.rows, shape.cols);
      Stored y(backend, dtype, shape.rows, shape.cols),
          again(backend, dtype, shape.rows, shape.cols);
      backend.norm_gate(GetParam(), in.matrix(), gate.matrix(), kEps, y.matrix());
      backend.norm_gate_backward(GetParam(), in.matrix(), gate.matrix(), slope.matrix(), kEps,
                                 d_o.matrix(), d_u.matrix(), again.matrix());
      EXPECT_EQ(again.table().values, y.table().values);
      return std::vector<Table>{d_o.table(), d_u.table()};
    });
  }
}

TEST_P(Gate, BackwardIsTheDerivative) {
  Rng rng(5);
  const Device device = Device::open("reference").value();
  Backend& backend = device.backend();
  Table o = random_table(rng, 2, 6), u = random_table(rng, 2, 6);
  const Table dy = random_table(rng, 2, 6);
  const double eps = 0.05;
  Stored in(backend, DType::kF64, o), gate(backend, DType::kF64, u),
      slope(backend, DType::kF64, dy);
  Stored d_o(backend, DType::kF64, 2, 6), d_u(backend, DType::kF64, 2, 6);
  backend.norm_gate_backward(GetParam(), in.matrix(), gate.matrix(), slope.matrix(), eps,
                             d_o.matrix(), d_u.matrix());
  const auto loss = [&] {
    Stored o_moved(backend, DType::kF64, o), u_moved(backend, DType::kF64, u),
        y(backend, DType::kF64, 2, 6);
    backend.norm_gate(GetParam(), o_moved.matrix(), u_moved.matrix(), eps, y.matrix());
    return dot(y.table(), dy);
  };
  expect_gradient(o, d_o.table(), "norm_gate, o", loss);
  expect_gradient(u, d_u.table(), "norm_gate, u", loss);
}

// Far from zero the sigmoid is 0 or 1 and flat, never NaN.
TEST_P(Gate, TakesLargeGates) {
  Table o(1, 8, 1), dy(1, 8, 1), u(1, 8);
  u.values = {-1e30, -1e4, -104, -88.5, 88.5, 104, 1e4, 1e30};
  compare(1e-6, true, "norm_gate, large", [&](Backend& backend) {
    const DType dtype = backend.compute_dtype();
    Stored in(backend, dtype, o), gate(backend, dtype, u), slope(backend, dtype, dy);
    Stored y(backend, dtype, 1, 8), d_o(backend, dtype, 1, 8), d_u(backend, dtype, 1, 8);
    backend.norm_gate(GetParam(), in.matrix(), gate.matrix(), kEps, y.matrix());
    if (GetParam() == GateKind::kLinear) return std::vector<Table>{y.table()};
    backend.norm_gate_backward(GetParam(), in.matrix(), gate.matrix(), slope.matrix(), kEps,
                               d_o.matrix(), d_u.matrix());
    EXPECT_LT(d_u.table().values[0], 1e-30);
    return std::vector<Table>{y.table(), d_o.table()};
  });
}

INSTANTIATE_TEST_SUITE_P(Kinds, Gate, testing::Values(GateKind::kLinear, GateKind::kSigmoid),
                         [](const auto& info) {
                           return info.param == GateKind::kLinear ? "Linear" : "Sigmoid";
                         });

}  // namespace
}  // namespace tnl::test
