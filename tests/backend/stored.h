// Matrices for the tests: values in fp64, stored for a backend in its dtype, with rows wider than
// their columns and a guard behind each.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <string>
#include <utility>
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

// Memory of a backend that a test may leave behind.
class Memory {
 public:
  Memory(Backend& backend, const void* data, std::size_t bytes) : backend_(&backend) {
    auto memory = backend.allocate(bytes, "a test");
    EXPECT_TRUE(memory.ok()) << memory.status().message();
    data_ = *memory;
    EXPECT_TRUE(backend.upload(data_, data, bytes).ok());
  }
  Memory(Memory&& other) noexcept : backend_(other.backend_) { std::swap(data_, other.data_); }
  ~Memory() { backend_->free(data_); }

  void* data() const { return data_; }
  void download(void* to, std::size_t bytes) const {
    const Status status = backend_->download(to, data_, bytes);
    EXPECT_TRUE(status.ok()) << status.message();
  }

 private:
  Backend* backend_;
  void* data_ = nullptr;
};

class Stored {
 public:
  // An output: NaN everywhere, so that what is not written shows.
  Stored(Backend& backend, DType dtype, std::int64_t rows, std::int64_t cols)
      : Stored(backend, dtype, Table(rows, cols, std::nan(""))) {}
  Stored(Backend& backend, DType dtype, const Table& table)
      : dtype_(dtype),
        rows_(table.rows),
        cols_(table.cols),
        stride_(table.cols + guard(table.cols)),
        memory_(put(backend, table)) {}

  Matrix matrix() {
    return {.data = memory_.data(),
            .dtype = dtype_,
            .rows = rows_,
            .cols = cols_,
            .row_stride = stride_};
  }

  // What it holds now; the guards are whole.
  Table table() const {
    Table result(rows_, cols_);
    const std::int64_t size = dtype_size(dtype_);
    std::vector<char> bytes(byte_count());
    memory_.download(bytes.data(), bytes.size());
    for (std::int64_t r = 0; r < rows_; ++r) {
      const char* row = bytes.data() + r * stride_ * size;
      convert(row, dtype_, result.values.data() + r * cols_, DType::kF64, cols_);
      for (std::int64_t b = cols_ * size; b < stride_ * size; ++b) {
        EXPECT_EQ(row[b], kGuardByte) << "written behind row " << r;
      }
    }
    return result;
  }

 private:
  // Rows of whole vectors stay aligned, others do not.
  static std::int64_t guard(std::int64_t cols) { return cols % 8 == 0 ? 8 : 3; }
  static constexpr char kGuardByte = 0x5a;

  std::size_t byte_count() const {
    return static_cast<std::size_t>(rows_ * stride_ * dtype_size(dtype_) + 1);
  }
  Memory put(Backend& backend, const Table& table) const {
    std::vector<char> bytes(byte_count(), kGuardByte);
    const std::int64_t size = dtype_size(dtype_);
    for (std::int64_t r = 0; r < rows_; ++r) {
      convert(table.values.data() + r * cols_, DType::kF64, bytes.data() + r * stride_ * size,
              dtype_, cols_);
    }
    return Memory(backend, bytes.data(), bytes.size());
  }

  DType dtype_;
  std::int64_t rows_, cols_, stride_;
  Memory memory_;
};

// An array in the memory of a backend.
template <class T>
class Array {
 public:
  Array(Backend& backend, const std::vector<T>& values)
      : count_(values.size()), memory_(backend, values.data(), values.size() * sizeof(T)) {}

  std::span<T> span() const { return {static_cast<T*>(memory_.data()), count_}; }
  std::vector<T> values() const {
    std::vector<T> result(count_);
    memory_.download(result.data(), count_ * sizeof(T));
    return result;
  }

 private:
  std::size_t count_;
  Memory memory_;
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

// Every CPU target of this machine, on one thread and on several, and its GPU in both dtypes.
inline std::vector<Candidate> candidates() {
  std::vector<Candidate> result;
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    auto device = Device::open("cuda", {.threads = 1, .cpu_target = {}, .gpu_compute = dtype});
    if (!device.ok()) continue;  // a machine without; tests/backend/gpu_test.cc says so
    result.push_back({"cuda " + std::string(dtype_name(dtype)), std::move(device).value()});
  }
  for (const std::string& target : available_cpu_targets()) {
    for (const int threads : {1, 3}) {
      auto device = Device::open("cpu", {.threads = threads, .cpu_target = target});
      EXPECT_TRUE(device.ok());
      result.push_back({target + " x" + std::to_string(threads), std::move(device).value()});
    }
  }
  return result;
}

// Outputs in bf16 are rounded once more, and so may be what they were computed from.
constexpr double kBF16Bound = 1.0 / 64;

// How far a value of about `size` may be off: as `bound` says in fp32, or by a rounding to bf16.
inline double allowed(Backend& backend, double bound, double size = 1) {
  return backend.compute_dtype() == DType::kBF16 ? std::max(bound, size / 128) : bound;
}

// One body for all backends: `body` runs an operation on a backend and returns its outputs.
// Candidates are held to the reference, in bf16 to its own bound; targets on one thread and on
// three give the same bits, and a GPU the same ones twice.
template <class Body>
void compare(double bound, bool same_bits, const std::string& what, const Body& body) {
  static const Device reference = Device::open("reference").value();
  static const std::vector<Candidate> list = candidates();
  const std::vector<Table> expected = body(reference.backend());
  std::vector<Table> before;
  for (const Candidate& candidate : list) {
    Backend& backend = candidate.device.backend();
    const std::vector<Table> found = body(backend);
    ASSERT_EQ(found.size(), expected.size());
    const bool rounded = backend.compute_dtype() == DType::kBF16;
    for (std::size_t i = 0; i < found.size(); ++i) {
      expect_close(found[i], expected[i], rounded ? std::max(bound, kBF16Bound) : bound,
                   what + ", output " + std::to_string(i) + ", " + candidate.name);
    }
    if (candidate.device.properties().kind == DeviceKind::kCuda) {
      const std::vector<Table> again = body(backend);
      for (std::size_t i = 0; i < found.size(); ++i) {
        EXPECT_EQ(again[i].values, found[i].values) << what << ", output " << i << ", twice";
      }
    } else if (same_bits && candidate.device.properties().threads > 1) {
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
