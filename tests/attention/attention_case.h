// One call of the operator with its data in fp64, and the ways to run it: any kernel, storage
// type, plan, number of threads and layout.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "tnl/attention.h"

namespace tnl::test {

// Owned memory behind a view. Rows (the last axis) lie `gap` elements apart, the gaps hold NaN.
class Tensor {
 public:
  Tensor() = default;
  Tensor(DType dtype, const std::vector<std::int64_t>& shape, std::int64_t gap = 0);

  const TensorView& view() const { return view_; }
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
  std::string kernel;
  DType dtype = DType::kF32;
  std::int64_t chunk = 0;
  std::int64_t value_slice = 0;
  int threads = 1;
  std::int64_t gap = 0;
  bool state_in_place = false;
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
std::string name_of(const Variant& variant);

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
