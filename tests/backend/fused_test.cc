// Steps that a backend may fuse, and what decoding relies on: rows that do not depend on each
// other, work that can be replayed.
#include <gtest/gtest.h>

#include <algorithm>

#include "backend/transfer_buffer.h"
#include "core/convert.h"
#include "stored.h"

namespace tnl::test {
namespace {

constexpr double kEps = 1e-6;
constexpr double kBound = 2e-6;
// Around what is fused on a GPU: tiles of 8 rows, at most 32.
const std::vector<std::int64_t> kRows = {1, 2, 8, 9, 30, 33, 70};
// Whole steps of its depth, steps for some warps only, and depths it does not serve.
const std::vector<std::int64_t> kDepths = {32, 96, 640, 40, 33};

struct Operands {
  Table x, u, weights, residual;
  std::string label;

  Operands(std::int64_t rows, std::int64_t depth, std::int64_t cols) {
    Rng rng(static_cast<std::uint64_t>(rows * 1009 + depth * 31 + cols));
    x = random_table(rng, rows, depth, 3);
    u = random_table(rng, rows, depth);
    weights = random_table(rng, cols, depth, 0.3);
    residual = random_table(rng, rows, cols, 5);
    label = std::to_string(rows) + "x" + std::to_string(depth) + "x" + std::to_string(cols);
  }
};

template <class Test>
void for_operands(std::int64_t cols, const Test& test) {
  for (const std::int64_t rows : kRows) {
    for (const std::int64_t depth : kDepths) test(Operands(rows, depth, cols));
  }
}

TEST(Fused, NormMatmul) {
  for (const std::int64_t cols : {1, 24, 83}) {
    for_operands(cols, [&](const Operands& in) {
      compare(kBound, true, "norm_matmul " + in.label, [&](Backend& backend) {
        const DType dtype = backend.compute_dtype();
        Stored x(backend, dtype, in.x), w(backend, dtype, in.weights);
        Stored normed(backend, dtype, in.x.rows, in.x.cols), y(backend, dtype, in.x.rows, cols);
        backend.norm_matmul(x.matrix(), kEps, normed.matrix(), w.matrix(), y.matrix());
        return std::vector<Table>{y.table()};
      });
    });
  }
}

TEST(Fused, GateOnto) {
  for (const GateKind kind : {GateKind::kLinear, GateKind::kSigmoid}) {
    for_operands(40, [&](const Operands& in) {
      compare(kBound, true, "gate_onto " + in.label, [&](Backend& backend) {
        const DType dtype = backend.compute_dtype();
        Stored o(backend, dtype, in.x), u(backend, dtype, in.u), w(backend, dtype, in.weights);
        Stored residual(backend, dtype, in.residual), out(backend, dtype, in.x.rows, 40);
        Stored gated(backend, dtype, in.x.rows, in.x.cols);
        const auto run = [&](const Matrix& to) {
          backend.gate_onto(kind, o.matrix(), u.matrix(), kEps, gated.matrix(), w.matrix(),
                            residual.matrix(), to);
        };
        run(out.matrix());
        EXPECT_EQ(residual.table().values, in.residual.values);
        run(residual.matrix());
        return std::vector<Table>{out.table(), residual.table()};
      });
    });
  }
}

TEST(Fused, NormGlu) {
  for (const std::int64_t width : {8, 20}) {
    for_operands(2 * width, [&](const Operands& in) {
      compare(kBound, true, "norm_glu " + in.label, [&](Backend& backend) {
        const DType dtype = backend.compute_dtype();
        Stored x(backend, dtype, in.x), w(backend, dtype, in.weights);
        Stored normed(backend, dtype, in.x.rows, in.x.cols);
        Stored both(backend, dtype, in.x.rows, 2 * width),
            product(backend, dtype, in.x.rows, width);
        Stored alone(backend, dtype, in.x.rows, 2 * width);
        backend.norm_glu(x.matrix(), kEps, normed.matrix(), w.matrix(), both.matrix(),
                         product.matrix());
        backend.norm_glu(x.matrix(), kEps, normed.matrix(), w.matrix(), alone.matrix(), {});
        EXPECT_EQ(alone.table().values, both.table().values);
        return std::vector<Table>{both.table(), product.table()};
      });
    });
  }
}

// On a GPU as many rows of W as fill it take another way, and twice as many a third; the last block
// holds a part of its tiles.
TEST(Fused, WideWeights) {
  for (const std::int64_t cols : {4101, 8205, 8216}) {
    for (const std::int64_t rows : {1, 8, 9, 17, 32}) {
      const Operands in(rows, cols == 8205 ? 640 : 96, cols);
      compare(kBound, true, "wide " + in.label, [&](Backend& backend) {
        const DType dtype = backend.compute_dtype();
        Stored x(backend, dtype, in.x), u(backend, dtype, in.u), w(backend, dtype, in.weights);
        Stored normed(backend, dtype, rows, in.x.cols), norm(backend, dtype, rows, cols);
        Stored plain(backend, dtype, rows, cols), gate(backend, dtype, in.residual);
        Stored both(backend, dtype, rows, cols / 2 * 2), product(backend, dtype, rows, cols / 2);
        backend.norm_matmul(x.matrix(), kEps, normed.matrix(), w.matrix(), norm.matrix());
        backend.matmul(MatmulForm::kNT, 1, x.matrix(), w.matrix(), 0, plain.matrix());
        backend.gate_onto(GateKind::kSigmoid, x.matrix(), u.matrix(), kEps, normed.matrix(),
                          w.matrix(), gate.matrix(), gate.matrix());
        backend.norm_glu(x.matrix(), kEps, normed.matrix(), w.matrix().row_block(0, cols / 2 * 2),
                         both.matrix(), product.matrix());
        return std::vector<Table>{norm.table(), plain.table(), gate.table(), both.table(),
                                  product.table()};
      });
    }
  }
}

struct Projection {
  bool tnl3, lrpe, masked;
  std::int64_t heads, head_dim;
};

std::vector<Table> project(Backend& backend, const Projection& p, const Operands& in,
                           const Table& low, const Table& theta) {
  const DType dtype = backend.compute_dtype();
  const std::int64_t rows = in.x.rows, width = p.heads * p.head_dim;
  const std::int64_t keys = p.lrpe ? 2 * width : width;
  std::vector<std::int64_t> at;
  std::vector<std::uint8_t> kept;
  for (std::int64_t t = 0; t < rows; ++t) {
    at.push_back(1000 + 7 * t);
    kept.push_back(t % 3 == 1 ? 0 : 1);
  }
  const Array<std::int64_t> positions(backend, at);
  const Array<std::uint8_t> mask(backend, kept);
  Stored x(backend, dtype, in.x), w(backend, dtype, in.weights);
  Stored stored_theta(backend, dtype, theta), gate_down(backend, dtype, low);
  Stored normed(backend, dtype, rows, in.x.cols);
  Stored projection(backend, dtype, rows, in.weights.rows),
      gate_low(backend, dtype, rows, low.rows);
  Stored q(backend, dtype, rows, keys), k(backend, dtype, rows, keys),
      v(backend, dtype, rows, width);
  ProjectArgs args;
  args.x = x.matrix();
  args.eps = kEps;
  args.normed = normed.matrix();
  args.weights = w.matrix();
  args.split.projection = projection.matrix();
  args.split.heads = p.heads;
  args.split.head_dim = p.head_dim;
  args.split.silu_v = p.tnl3;
  if (p.lrpe) {
    args.split.theta = stored_theta.matrix().data;
    args.split.theta_dtype = dtype;
  }
  args.split.positions = positions.span();
  if (p.masked) args.split.mask = mask.span();
  args.split.q = q.matrix();
  args.split.k = k.matrix();
  args.split.v = v.matrix();
  if (p.tnl3) {
    args.gate_down = gate_down.matrix();
    args.gate_low = gate_low.matrix();
  }
  backend.project(args);
  std::vector<Table> results = {projection.table(), q.table(), k.table(), v.table()};
  if (p.tnl3) results.push_back(gate_low.table());
  return results;
}

TEST(Fused, Project) {
  for (const Projection& p : std::vector<Projection>{{false, false, false, 2, 8},
                                                     {false, true, false, 3, 6},
                                                     {false, false, true, 2, 8},
                                                     {true, false, false, 2, 12},
                                                     {true, true, true, 1, 16}}) {
    const std::int64_t width = p.heads * p.head_dim;
    for_operands((p.tnl3 ? 3 : 4) * width, [&](const Operands& in) {
      Rng rng(9);
      const Table low = random_table(rng, 11, in.x.cols, 0.3);
      const Table theta = random_table(rng, 1, width, 0.3);
      // A phase of hundreds of radians leaves fp32 outputs their rounding, not more.
      compare(p.lrpe ? 1e-5 : kBound, true, "project " + in.label,
              [&](Backend& backend) { return project(backend, p, in, low, theta); });
    });
  }
}

// A row of a product has the bits it has alone, with any rows before and behind it.
TEST(Fused, RowsAreInvariantToTheirNumber) {
  for (const auto& [depth, cols] : std::vector<std::pair<std::int64_t, std::int64_t>>{
           {33, 72}, {96, 72}, {640, 72}, {2048, 72}, {640, 4104}, {96, 8216}}) {
    const Operands in(32, depth, cols);
    compare(kBound, true, "invariant rows", [&, depth = depth, cols = cols](Backend& backend) {
      const DType dtype = backend.compute_dtype();
      Stored x(backend, dtype, in.x), u(backend, dtype, in.u), w(backend, dtype, in.weights);
      const auto results = [&](std::int64_t first, std::int64_t rows) {
        Stored normed(backend, dtype, rows, depth), plain(backend, dtype, rows, cols);
        Stored norm(backend, dtype, rows, cols), glu(backend, dtype, rows, cols);
        Stored product(backend, dtype, rows, cols / 2), gate(backend, dtype, in.residual);
        const Matrix some = x.matrix().row_block(first, rows);
        backend.matmul(MatmulForm::kNT, 1, some, w.matrix(), 0, plain.matrix());
        backend.norm_matmul(some, kEps, normed.matrix(), w.matrix(), norm.matrix());
        backend.norm_glu(some, kEps, normed.matrix(), w.matrix(), glu.matrix(), product.matrix());
        const Matrix onto = gate.matrix().row_block(first, rows);
        backend.gate_onto(GateKind::kLinear, some, u.matrix().row_block(first, rows), kEps,
                          normed.matrix(), w.matrix(), onto, onto);
        const Table gated = gate.table();
        Table part(rows, cols);
        std::copy_n(gated.values.begin() + first * cols, rows * cols, part.values.begin());
        return std::vector<Table>{plain.table(), norm.table(), glu.table(), product.table(), part};
      };
      const std::int64_t most = std::min<std::int64_t>(32, backend.most_invariant_rows());
      const auto whole = results(0, most);
      const std::vector<std::pair<std::int64_t, std::int64_t>> parts = {
          {0, 1}, {most - 1, 1}, {3, 2}, {1, 7}, {0, 8}, {5, 9}, {2, most - 3}};
      for (const auto& [first, rows] : parts) {
        const auto some = results(first, rows);
        for (std::size_t i = 0; i < some.size(); ++i) {
          EXPECT_TRUE(std::equal(some[i].values.begin(), some[i].values.end(),
                                 whole[i].values.begin() + first * whole[i].cols))
              << "result " << i << ", rows " << first << " to " << first + rows << " of " << most
              << ", depth " << depth << ", columns " << cols;
        }
      }
      return std::vector<Table>{};
    });
  }
}

TEST(Recording, RunsAgainOnWhatItsMemoryHoldsThen) {
  compare(0, true, "recording", [](Backend& backend) {
    const DType dtype = backend.compute_dtype();
    Table one(2, 8, 1), two(2, 8, 2);
    Stored a(backend, dtype, one), b(backend, dtype, two), y(backend, dtype, 2, 8);
    const auto work = [&]() -> Status {
      backend.product(a.matrix(), b.matrix(), y.matrix());
      backend.product(y.matrix(), b.matrix(), a.matrix());
      return {};
    };
    EXPECT_TRUE(work().ok());
    auto recording = backend.record(work);
    EXPECT_TRUE(recording.ok());
    if (!recording.ok()) return std::vector<Table>{};
    EXPECT_EQ(a.table().values[0], 4);  // recording runs nothing
    EXPECT_TRUE((*recording)->run().ok());
    EXPECT_TRUE((*recording)->run().ok());
    EXPECT_EQ(a.table().values[0], 64);
    return std::vector<Table>{a.table(), y.table()};
  });
}

TEST(Recording, PassesOnWhyItCouldNotBeMade) {
  compare(0, true, "recording that fails", [](Backend& backend) {
    bool fail = false;
    const auto work = [&]() -> Status { return fail ? invalid_argument("no") : Status(); };
    EXPECT_TRUE(work().ok());
    fail = true;
    auto recording = backend.record(work);
    const Status status = recording.ok() ? (*recording)->run() : recording.status();
    EXPECT_EQ(status.message(), "no");
    return std::vector<Table>{};
  });
}

// More than what waits for the GPU at a time, of pieces small and large, from memory that changes.
TEST(QueuedUploads, AllArriveAsTheyWere) {
  compare(0, true, "queued uploads", [](Backend& backend) {
    constexpr std::size_t kPiece = 96, kLarge = 5000, kPieces = 300;
    std::vector<std::int64_t> expected(kPiece * kPieces + kLarge);
    for (std::size_t i = 0; i < expected.size(); ++i) expected[i] = static_cast<std::int64_t>(i);
    const Array<std::int64_t> memory(backend, std::vector<std::int64_t>(expected.size()));
    std::vector<std::int64_t> piece;
    for (std::size_t at = 0; at < expected.size(); at += piece.size()) {
      const std::size_t count = at == kPiece * kPieces ? kLarge : kPiece;
      piece.assign(expected.begin() + at, expected.begin() + at + count);
      EXPECT_TRUE(
          backend.queue_upload(memory.span().data() + at, piece.data(), sizeof(piece[0]) * count)
              .ok());
      std::fill(piece.begin(), piece.end(), -1);
    }
    EXPECT_TRUE(backend.finish().ok());
    EXPECT_EQ(memory.values(), expected);
    return std::vector<Table>{};
  });
}

TEST(HostMemory, TakesWhatAnOperationComputes) {
  const Operands in(3, 64, 83);
  compare(kBound, true, "norm_matmul to the host", [&](Backend& backend) {
    const DType dtype = backend.compute_dtype();
    Stored x(backend, dtype, in.x), w(backend, dtype, in.weights);
    Stored normed(backend, dtype, in.x.rows, in.x.cols);
    Table found(in.x.rows, in.weights.rows);
    const auto count = static_cast<std::int64_t>(found.values.size());
    auto memory = TransferBuffer::allocate(
        backend, static_cast<std::size_t>(count * dtype_size(dtype)), "a test");
    EXPECT_TRUE(memory.ok());
    if (!memory.ok()) return std::vector<Table>{};
    backend.norm_matmul(x.matrix(), kEps, normed.matrix(), w.matrix(),
                        Matrix::contiguous(memory->data(), dtype, found.rows, found.cols));
    EXPECT_TRUE(backend.finish().ok());
    convert(memory->data(), dtype, found.values.data(), DType::kF64, count);
    return std::vector<Table>{found};
  });
}

}  // namespace
}  // namespace tnl::test
