// Matrices for the tests: values in fp64, stored for a backend in its dtype, with rows wider than
// their columns and a guard behind each.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "core/convert.h"
#include "core/rng.h"
#include "tnl/device.h"

namespace tnl::test {

struct Table {
  std::int64_t rows = 0, cols = 0;
  std::vector<double> values;

  Table() = default;
  Table(std::int64_t rows, std::int64_t cols, double fill = 0)
      : rows(rows), cols(cols), values(static_cast<std::size_t>(rows * cols), fill) {}
  double& at(std::int64_t r, std::int64_t c) { return values[r * cols + c]; }
  double at(std::int64_t r, std::int64_t c) const { return values[r * cols + c]; }
};

// Normal values that bf16, and so every dtype, holds exactly.
inline Table random_table(Rng& rng, std::int64_t rows, std::int64_t cols, double scale = 1) {
  Table table(rows, cols);
  for (double& value : table.values) value = scale * rng.normal();
  std::vector<std::uint16_t> narrow(table.values.size());
  const auto count = static_cast<std::int64_t>(narrow.size());
  convert(table.values.data(), DType::kF64, narrow.data(), DType::kBF16, count);
  convert(narrow.data(), DType::kBF16, table.values.data(), DType::kF64, count);
  return table;
}

class Stored {
 public:
  // An output: NaN everywhere, so that what is not written shows.
  Stored(DType dtype, std::int64_t rows, std::int64_t cols)
      : Stored(dtype, Table(rows, cols, std::nan(""))) {}
  Stored(DType dtype, const Table& table)
      : dtype_(dtype), rows_(table.rows), cols_(table.cols), stride_(table.cols + kGuard) {
    const std::int64_t size = dtype_size(dtype);
    bytes_.resize(static_cast<std::size_t>(rows_ * stride_ * size + 1), kGuardByte);
    for (std::int64_t r = 0; r < rows_; ++r) {
      convert(table.values.data() + r * cols_, DType::kF64, bytes_.data() + r * stride_ * size,
              dtype, cols_);
    }
  }

  Matrix matrix() {
    return {.data = bytes_.data(),
            .dtype = dtype_,
            .rows = rows_,
            .cols = cols_,
            .row_stride = stride_};
  }

  // What it holds now; the guards are whole.
  Table table() const {
    Table result(rows_, cols_);
    const std::int64_t size = dtype_size(dtype_);
    for (std::int64_t r = 0; r < rows_; ++r) {
      const char* row = bytes_.data() + r * stride_ * size;
      convert(row, dtype_, result.values.data() + r * cols_, DType::kF64, cols_);
      for (std::int64_t b = cols_ * size; b < stride_ * size; ++b) {
        EXPECT_EQ(row[b], kGuardByte) << "written behind row " << r;
      }
    }
    return result;
  }

 private:
  static constexpr std::int64_t kGuard = 3;
  static constexpr char kGuardByte = 0x5a;
  DType dtype_;
  std::int64_t rows_, cols_, stride_;
  std::vector<char> bytes_;
};

// max |found - expected| <= bound * max |expected|, and nothing else than numbers.
inline void expect_close(const Table& found, const Table& expected, double bound,
                         const std::string& what) {
  ASSERT_EQ(found.values.size(), expected.values.size()) << what;
  double most = 0, error = 0;
  for (std::size_t i = 0; i < expected.values.size(); ++i) {
    ASSERT_TRUE(std::isfinite(found.values[i])) << what << " at " << i;
    most = std::max(most, std::abs(expected.values[i]));
    error = std::max(error, std::abs(found.values[i] - expected.values[i]));
  }
  EXPECT_LE(error, bound * most) << what << ": relative error " << error / most;
}

// A device and how far it may be from fp64.
struct Candidate {
  std::string name;
  Device device;
};

// Every CPU target of this machine, on one thread and on several.
inline std::vector<Candidate> candidates() {
  std::vector<Candidate> result;
  for (const std::string& target : available_cpu_targets()) {
    for (const int threads : {1, 3}) {
      auto device = Device::open("cpu", {.threads = threads, .cpu_target = target});
      EXPECT_TRUE(device.ok());
      result.push_back({target + " x" + std::to_string(threads), std::move(device).value()});
    }
  }
  return result;
}

// One body for all backends: `body` runs an operation on a backend and returns its outputs.
// Candidates are held to the reference; targets on one thread and on three give the same bits.
template <class Body>
void compare(double bound, bool same_bits, const std::string& what, const Body& body) {
  static const Device reference = Device::open("reference").value();
  static const std::vector<Candidate> list = candidates();
  const std::vector<Table> expected = body(reference.backend());
  std::vector<Table> before;
  for (const Candidate& candidate : list) {
    const std::vector<Table> found = body(candidate.device.backend());
    ASSERT_EQ(found.size(), expected.size());
    for (std::size_t i = 0; i < found.size(); ++i) {
      expect_close(found[i], expected[i], bound,
                   what + ", output " + std::to_string(i) + ", " + candidate.name);
    }
    if (same_bits && candidate.device.properties().threads > 1) {
      for (std::size_t i = 0; i < found.size(); ++i) {
        EXPECT_EQ(found[i].values, before[i].values)
            << what << ", output " << i << ", " << candidate.name << " against one thread";
      }
    }
    before = found;
  }
}

// Central differences in fp64 of `loss`, which reads `input` through the reference.
template <class Loss>
void expect_gradient(Table& input, const Table& gradient, const std::string& what,
                     const Loss& loss) {
  constexpr double kStep = 1e-5;
  Table numeric(input.rows, input.cols);
  for (std::size_t i = 0; i < input.values.size(); ++i) {
    const double value = input.values[i];
    input.values[i] = value + kStep;
    const double above = loss();
    input.values[i] = value - kStep;
    const double below = loss();
    input.values[i] = value;
    numeric.values[i] = (above - below) / (2 * kStep);
  }
  expect_close(gradient, numeric, 1e-8, what);
}

inline double dot(const Table& a, const Table& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.values.size(); ++i) sum += a.values[i] * b.values[i];
  return sum;
}

}  // namespace tnl::test
