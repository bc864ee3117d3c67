// One call of the operator with its data in fp64, and the ways to run it: any kernel, storage
// type, plan, number of threads and layout.
#pragma once

#include <cstdint>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "tnl/attention.h"

namespace tnl::test {

// Owned memory behind a view. Rows (the last axis) lie `gap` elements apart, the gaps hold NaN.
class Tensor {
 public:
  Tensor() = default;
  Tensor(DType dtype, const std::vector<std::int64_t>& shape, std::int64_t gap = 0);

  const TensorView& view() const { return view_; }
  // All of it, gaps too.
  std::pair<std::byte*, std::size_t> memory() const {
    return {static_cast<std::byte*>(view_.data), memory_.size()};
  }
  // All elements in row-major order of the shape.
  std::vector<double> values() const;
  void set(const std::vector<double>& values);

 private:
  std::vector<std::byte> memory_;
  TensorView view_;
};

struct AttentionCase {
  std::int64_t batch = 1, tokens = 1, heads = 1, key_dim = 1, value_dim = 1;
  std::vector<std::int64_t> cu_seqlens;  // packed if not empty: tokens is the total, batch is 1
  std::vector<float> log_decay;
  float scale = 1;
  Direction direction = Direction::kForward;
  std::vector<double> q, k, v, d_o;
  std::vector<double> state_in, d_state_out;  // empty: not given

  std::int64_t sequences() const;
  std::vector<std::int64_t> key_shape() const;
  std::vector<std::int64_t> value_shape() const;
  std::vector<std::int64_t> state_shape() const;
  std::int64_t begin(std::int64_t n) const;
  std::int64_t length(std::int64_t n) const;
  // Index of the first element of a row of q or k (width = key_dim) or v (width = value_dim).
  std::int64_t row(std::int64_t n, std::int64_t t, std::int64_t h, std::int64_t width) const;
};

struct Variant {
  std::string kernel = {};
  DType dtype = DType::kF32;
  std::int64_t chunk = 0;
  std::int64_t value_slice = 0;
  int threads = 1;
  std::int64_t gap = 0;
  bool state_in_place = false;

  bool on_gpu = false;
  int capability = 0;  // plan for a GPU of this one; 0: as it is
  std::string segments = {};
  std::int64_t runs = 0;
  std::string precision = {};
  bool batch_invariant = false;

  // Widths have to be a multiple of this, as the fast kernels of a GPU want them.
  std::int64_t width_step = 1;
  std::int64_t width(std::int64_t least) const {
    return (least + width_step - 1) / width_step * width_step;
  }
  // 16-bit operands of matrix products: results carry their rounding.
  bool rounds_operands() const { return width_step > 1; }
  // Tokens that share a matrix product, where 0 times NaN is NaN.
  std::int64_t tokens_together() const { return on_gpu && kernel != "general" ? 64 : 1; }
  AttentionPlanOptions plan_options() const;
  DeviceProperties plan_properties(const Device& device) const;
};

struct Outputs {
  std::vector<double> o, state_out;
};
struct Gradients {
  std::vector<double> dq, dk, dv, d_state_in;
};

Outputs run_forward(const AttentionCase& input, const Variant& variant);
Gradients run_backward(const AttentionCase& input, const Variant& variant);

// Every kernel of this machine with the storage it takes: the two references in f64, the CPU
// targets in f32.
std::vector<Variant> all_kernels();
std::vector<Variant> fast_kernels();
// Every storage type and kernel of a GPU, as planned; its tests skip where there is none.
std::vector<Variant> gpu_kernels();
// The CPU's kernels with the longest sequence cut into 2, 7 and 64 segments.
std::vector<Variant> cpu_segments();
// The ways to cut a long sequence, forced.
std::vector<Variant> gpu_segments();
std::string name_of(const Variant& variant);
inline void PrintTo(const Variant& variant, std::ostream* out) {  // for GoogleTest
  *out << name_of(variant);
}

// A test over variants.
class KernelTest : public testing::TestWithParam<Variant> {
 protected:
  void SetUp() override;
};

// Standard normal data, slopes spread over the heads from fast to none.
AttentionCase random_case(std::uint64_t seed, std::int64_t batch, std::int64_t tokens,
                          std::int64_t heads, std::int64_t key_dim, std::int64_t value_dim);
// Adds standard normal state_in and d_state_out.
void add_states(AttentionCase& input, std::uint64_t seed);

// What the storage keeps of a value.
std::vector<double> rounded(const std::vector<double>& values, DType dtype);
AttentionCase rounded(AttentionCase input, DType dtype);

// Root mean square of the difference over that of the expected values.
double relative_rms(const std::vector<double>& found, const std::vector<double>& expected);

}  // namespace tnl::test
