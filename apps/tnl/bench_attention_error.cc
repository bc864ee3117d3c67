#include "tnl/bench_attention_error.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <vector>

#include "core/buffer.h"
#include "core/convert.h"
#include "tnl/cli.h"

namespace tnl::command {
namespace {

// Columns that are looked at: the error of a state is a sum over some hundred tokens only, of which
// four columns leave 5 % to chance; long sequences would take too long with more.
std::int64_t sampled_columns(std::int64_t tokens) {
  return tokens <= 16384 ? 64 : 4;
}

using Values = std::vector<double>;

// The first and the last head of one sequence; `head` is the one that is looked at.
struct Sample {
  explicit Sample(const Device& on) : device(on) {}

  const Device& device;
  std::int64_t sequence = 0, first_row = 0, tokens = 0, heads = 0, head = 0;

  const Values& rows(const TensorView& tensor);
  Values state(const TensorView& tensor) const;

 private:
  std::map<const void*, std::array<Values, 2>> copies_;  // by tensor: both heads
};

// [tokens, width] of a tensor [.., heads, width], copied from the device in pieces.
const Values& Sample::rows(const TensorView& tensor) {
  std::array<Values, 2>& both = copies_[tensor.data];
  const bool last = head > 0;
  if (!both[last].empty()) return both[last];
  const std::int64_t width = tensor.shape[tensor.rank - 1], size = dtype_size(tensor.dtype);
  const std::int64_t token_bytes = heads * width * size;
  const std::int64_t piece = std::max<std::int64_t>(1, (std::int64_t{64} << 20) / token_bytes);
  std::vector<std::byte> copy(std::min(piece, tokens) * token_bytes);
  for (Values& values : both) values.resize(tokens * width);
  for (std::int64_t first = 0; first < tokens; first += piece) {
    const std::int64_t count = std::min(piece, tokens - first);
    const char* from = static_cast<const char*>(tensor.data) + (first_row + first) * token_bytes;
    require(device.download(copy.data(), from, count * token_bytes));
    for (std::int64_t t = 0; t < count; ++t) {
      const std::byte* row = copy.data() + t * token_bytes;
      convert(row, tensor.dtype, &both[0][(first + t) * width], DType::kF64, width);
      convert(row + (heads - 1) * width * size, tensor.dtype, &both[1][(first + t) * width],
              DType::kF64, width);
    }
  }
  return both[last];
}

// [K, V]; zeros where it is not given.
Values Sample::state(const TensorView& tensor) const {
  const std::int64_t size = tensor.shape[2] * tensor.shape[3];
  std::vector<float> copy(size);
  const auto* from = static_cast<const float*>(tensor.data) + (sequence * heads + head) * size;
  require(device.download(copy.data(), from, size * sizeof(float)));
  return {copy.begin(), copy.end()};
}

Values transposed(const Values& matrix, std::int64_t rows, std::int64_t columns) {
  Values result(matrix.size());
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t c = 0; c < columns; ++c) result[c * rows + r] = matrix[r * columns + c];
  }
  return result;
}

// Evenly spread columns of a matrix, as many as a sample of so many tokens has.
Values columns_of(const Values& matrix, std::int64_t columns, std::int64_t tokens) {
  const std::int64_t kept = std::min(sampled_columns(tokens), columns);
  Values result;
  for (std::size_t row = 0; row < matrix.size(); row += columns) {
    for (std::int64_t i = 0; i < kept; ++i) {
      result.push_back(matrix[row + i * (columns - 1) / std::max<std::int64_t>(1, kept - 1)]);
    }
  }
  return result;
}

// The operator itself, on one head in fp64.
struct Call {
  Values q, k, v;  // v: the sampled columns
  std::int64_t key_dim, value_dim;
  float log_decay;
  double scale;
  Direction direction;
  Values state_in;  // [K, sampled columns], or empty
};

struct Result64 {
  Values o, state_out;
};

Result64 solve(const Call& call) {
  const auto tokens = static_cast<std::int64_t>(call.q.size()) / call.key_dim;
  const std::int64_t columns = std::min(sampled_columns(tokens), call.value_dim);
  Result64 result{Values(tokens * columns), Values(call.key_dim * columns)};
  const auto view = [&](const Values& values, std::int64_t width) {
    return TensorView::contiguous(const_cast<double*>(values.data()), DType::kF64,
                                  {1, tokens, 1, width});
  };
  const auto state = [&](const Values& values) {
    return TensorView::contiguous(const_cast<double*>(values.data()), DType::kF64,
                                  {1, 1, call.key_dim, columns});
  };
  AttentionArgs args;
  args.q = view(call.q, call.key_dim);
  args.k = view(call.k, call.key_dim);
  args.v = view(call.v, columns);
  args.o = view(result.o, columns);
  args.log_decay = {&call.log_decay, 1};
  args.scale = call.scale;
  args.direction = call.direction;
  if (!call.state_in.empty()) args.state_in = state(call.state_in);
  args.state_out = state(result.state_out);
  const Device reference = require(Device::open("reference"));
  const AttentionPlan plan = require(plan_attention(args, reference.properties()));
  const Buffer workspace = require(Buffer::allocate(plan.workspace_bytes, "workspace"));
  require(attention_forward(args, plan, workspace.data(), reference));
  return result;
}

struct Sum {
  double error = 0, norm = 0;

  void add(const Values& found, const Values& expected) {
    for (std::size_t i = 0; i < expected.size(); ++i) {
      error += (found[i] - expected[i]) * (found[i] - expected[i]);
      norm += expected[i] * expected[i];
    }
  }
  double relative() const { return norm > 0 ? std::sqrt(error / norm) : std::sqrt(error); }
};

Sample longest_sequence(const Device& device, const AttentionArgs& args) {
  Sample sample(device);
  sample.heads = args.q.shape[args.q.rank - 2];
  if (args.cu_seqlens.empty()) {
    sample.sequence = args.q.shape[0] - 1;
    sample.tokens = args.q.shape[1];
    sample.first_row = sample.sequence * sample.tokens;
    return sample;
  }
  for (std::size_t n = 0; n + 1 < args.cu_seqlens.size(); ++n) {
    const std::int64_t length = args.cu_seqlens[n + 1] - args.cu_seqlens[n];
    if (length <= sample.tokens) continue;
    sample.sequence = static_cast<std::int64_t>(n);
    sample.tokens = length;
    sample.first_row = args.cu_seqlens[n];
  }
  return sample;
}

void add_forward(Sample& sample, const AttentionArgs& args, const Call& base,
                 std::map<std::string, Sum>& sums) {
  Call call = base;
  call.q = sample.rows(args.q);
  call.k = sample.rows(args.k);
  call.v = columns_of(sample.rows(args.v), base.value_dim, sample.tokens);
  if (args.state_in.given()) {
    call.state_in = columns_of(sample.state(args.state_in), base.value_dim, sample.tokens);
  }
  const Result64 expected = solve(call);
  sums["o"].add(columns_of(sample.rows(args.o), base.value_dim, sample.tokens), expected.o);
  if (args.state_out.given()) {
    sums["state_out"].add(columns_of(sample.state(args.state_out), base.value_dim, sample.tokens),
                          expected.state_out);
  }
}

// The same operator with its operands exchanged (docs/math.md). An incoming gradient of the state
// enters undecayed: divided by λ, it enters decayed.
void add_backward(Sample& sample, const AttentionArgs& args, const AttentionGradients& gradients,
                  const Call& base, std::map<std::string, Sum>& sums) {
  const std::int64_t K = base.key_dim, V = base.value_dim;
  const Values &q = sample.rows(args.q), &k = sample.rows(args.k), &v = sample.rows(args.v);
  const Values& d_o = sample.rows(gradients.d_o);
  Call dq = base;
  std::swap(dq.key_dim, dq.value_dim);
  dq.q = d_o;
  dq.k = v;
  dq.v = columns_of(k, K, sample.tokens);
  if (args.state_in.given()) {
    dq.state_in = columns_of(transposed(sample.state(args.state_in), K, V), K, sample.tokens);
  }
  sums["dq"].add(columns_of(sample.rows(gradients.dq), K, sample.tokens), solve(dq).o);

  Values d_state;
  if (gradients.d_state_out.given()) {
    d_state = sample.state(gradients.d_state_out);
    for (double& x : d_state) x *= std::exp(-static_cast<double>(base.log_decay)) / base.scale;
  }
  Call dv = base;
  dv.direction = base.direction == Direction::kForward ? Direction::kReverse : Direction::kForward;
  Call dk = dv;
  dv.q = k;
  dv.k = q;
  dv.v = columns_of(d_o, V, sample.tokens);
  if (!d_state.empty()) dv.state_in = columns_of(d_state, V, sample.tokens);
  sums["dv"].add(columns_of(sample.rows(gradients.dv), V, sample.tokens), solve(dv).o);
  std::swap(dk.key_dim, dk.value_dim);
  dk.q = v;
  dk.k = d_o;
  dk.v = columns_of(q, K, sample.tokens);
  if (!d_state.empty()) dk.state_in = columns_of(transposed(d_state, K, V), K, sample.tokens);
  sums["dk"].add(columns_of(sample.rows(gradients.dk), K, sample.tokens), solve(dk).o);
}

}  // namespace

std::map<std::string, double> attention_errors(const Device& device, const AttentionArgs& args,
                                               const AttentionGradients* gradients) {
  Sample sample = longest_sequence(device, args);
  std::map<std::string, Sum> sums;
  for (const std::int64_t head : {std::int64_t{0}, sample.heads - 1}) {
    sample.head = head;
    Call base;
    base.key_dim = args.q.shape[args.q.rank - 1];
    base.value_dim = args.v.shape[args.v.rank - 1];
    base.log_decay = args.log_decay[head];
    base.scale = args.scale;
    base.direction = args.direction;
    if (gradients == nullptr) {
      add_forward(sample, args, base, sums);
    } else {
      add_backward(sample, args, *gradients, base, sums);
    }
  }
  std::map<std::string, double> errors;
  for (const auto& [name, sum] : sums) errors[name] = sum.relative();
  return errors;
}

}  // namespace tnl::command
