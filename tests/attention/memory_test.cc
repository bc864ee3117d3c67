// Where operands lie: slices of wider tensors, far apart, and next to poison.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "attention/attention_case.h"
#include "attention/on_device.h"
#include "core/convert.h"
#include "support/require.h"

namespace tnl::test {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

class Memory : public KernelTest {};

// Every row is followed by NaN that a read past its end would pick up.
TEST_P(Memory, GapsBetweenRowsAreNeverRead) {
  AttentionCase input = random_case(1, 2, 45, 2, GetParam().width(19), GetParam().width(37));
  add_states(input, 2);
  const Outputs expected = run_forward(input, GetParam());
  const Gradients d_expected = run_backward(input, GetParam());
  for (const std::int64_t gap : {1, 16, 59}) {
    Variant variant = GetParam();
    variant.gap = variant.width(gap);
    const Outputs found = run_forward(input, variant);
    EXPECT_EQ(found.o, expected.o);
    EXPECT_EQ(found.state_out, expected.state_out);
    const Gradients d_found = run_backward(input, variant);
    EXPECT_EQ(d_found.dq, d_expected.dq);
    EXPECT_EQ(d_found.dk, d_expected.dk);
    EXPECT_EQ(d_found.dv, d_expected.dv);
  }
}

TensorView slice(const Tensor& fused, std::int64_t first, std::int64_t heads, std::int64_t width) {
  TensorView view = fused.view();  // [B, T, row]
  view.data = static_cast<std::byte*>(view.data) + first * dtype_size(view.dtype);
  view.rank = 4;
  view.shape = {view.shape[0], view.shape[1], heads, width};
  view.stride = {view.stride[0], view.stride[1], width, 1};
  return view;
}

std::vector<double> values_of(const TensorView& view) {
  std::vector<double> values;
  for (std::int64_t b = 0; b < view.shape[0]; ++b) {
    for (std::int64_t t = 0; t < view.shape[1]; ++t) {
      for (std::int64_t x = 0; x < view.shape[2] * view.shape[3]; ++x) {
        const std::int64_t offset = b * view.stride[0] + t * view.stride[1] + x;
        double value;
        convert(static_cast<std::byte*>(view.data) + offset * dtype_size(view.dtype), view.dtype,
                &value, DType::kF64, 1);
        values.push_back(value);
      }
    }
  }
  return values;
}

TEST_P(Memory, SlicesOfOneProjection) {
  const std::int64_t heads = 3, key_dim = 16, tokens = 37;
  const std::int64_t value_dim = GetParam().width(20);
  const AttentionCase input = random_case(3, 2, tokens, heads, key_dim, value_dim);
  const Outputs expected = run_forward(input, GetParam());
  const std::int64_t keys = heads * key_dim, columns = heads * value_dim;
  const std::int64_t width = 2 * keys + 2 * columns;  // q | k | v | o
  std::vector<double> rows;
  for (std::int64_t row = 0; row < 2 * tokens; ++row) {
    rows.insert(rows.end(), &input.q[row * keys], &input.q[row * keys] + keys);
    rows.insert(rows.end(), &input.k[row * keys], &input.k[row * keys] + keys);
    rows.insert(rows.end(), &input.v[row * columns], &input.v[row * columns] + columns);
    rows.insert(rows.end(), columns, kNaN);
  }
  Tensor fused(GetParam().dtype, {2, tokens, width});
  fused.set(rows);
  const TensorView q = slice(fused, 0, heads, key_dim);
  const TensorView o = slice(fused, 2 * keys + columns, heads, value_dim);
  const Device device = open_device(GetParam());
  OnDevice on(device);
  on(fused);
  AttentionArgs args;
  args.q = on(q);
  args.k = on(slice(fused, keys, heads, key_dim));
  args.v = on(slice(fused, 2 * keys, heads, value_dim));
  args.o = on(o);
  args.log_decay = input.log_decay;
  const AttentionPlan plan =
      take(plan_attention(args, GetParam().plan_properties(device), GetParam().plan_options()));
  EXPECT_OK(attention_forward(args, plan, on.workspace(plan.workspace_bytes), device));
  on.fetch();
  EXPECT_EQ(values_of(o), expected.o);
  EXPECT_EQ(values_of(q), rounded(input.q, GetParam().dtype));
}

// On the CPU address space without memory behind it, but for the pages touched; on a GPU memory.
class SparseMap {
 public:
  SparseMap(const Device& device, std::size_t bytes) : device_(device), bytes_(bytes) {
    if (device.properties().kind == DeviceKind::kCuda) {
      auto memory = DeviceBuffer::allocate(device, bytes, "a test of far offsets");
      if (memory.ok()) memory_ = std::move(memory).value();
      return;
    }
    data_ = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  }
  ~SparseMap() {
    if (data_ != MAP_FAILED) ::munmap(data_, bytes_);
  }
  SparseMap(const SparseMap&) = delete;
  SparseMap& operator=(const SparseMap&) = delete;
  bool good() const { return data_ != MAP_FAILED || memory_.data() != nullptr; }
  void* data() const { return memory_.data() != nullptr ? memory_.data() : data_; }
  const Device& device() const { return device_; }

 private:
  const Device& device_;
  std::size_t bytes_;
  void* data_ = MAP_FAILED;
  DeviceBuffer memory_;
};

// [B, T, H, width] whose strides along `axis` take its second element past 2^31 elements.
TensorView far_view(const SparseMap& map, DType dtype, const std::vector<std::int64_t>& shape,
                    int axis) {
  TensorView view =
      TensorView::contiguous(map.data(), dtype, {shape[0], shape[1], shape[2], shape[3]});
  view.stride[axis] = (std::int64_t{1} << 31) + 16;
  return view;
}

void copy_far(const Device& device, const TensorView& view, std::vector<double>& values,
              bool write) {
  const std::size_t bytes = view.shape[3] * dtype_size(view.dtype);
  std::vector<std::byte> stored(bytes);
  std::int64_t index = 0;
  for (std::int64_t b = 0; b < view.shape[0]; ++b) {
    for (std::int64_t t = 0; t < view.shape[1]; ++t) {
      for (std::int64_t h = 0; h < view.shape[2]; ++h, index += view.shape[3]) {
        const std::int64_t offset = b * view.stride[0] + t * view.stride[1] + h * view.stride[2];
        std::byte* row = static_cast<std::byte*>(view.data) + offset * dtype_size(view.dtype);
        if (write) {
          convert(&values[index], DType::kF64, stored.data(), view.dtype, view.shape[3]);
          EXPECT_OK(device.upload(row, stored.data(), bytes));
        } else {
          EXPECT_OK(device.download(stored.data(), row, bytes));
          convert(stored.data(), view.dtype, &values[index], DType::kF64, view.shape[3]);
        }
      }
    }
  }
}

DType state_dtype(DType dtype) {
  return dtype == DType::kF64 ? DType::kF64 : DType::kF32;
}

TEST_P(Memory, OffsetsPastTwoToThe31) {
  for (const Direction direction : {Direction::kForward, Direction::kReverse}) {
    AttentionCase input = random_case(4, 2, 2, 2, GetParam().width(5), GetParam().width(20));
    input.direction = direction;
    add_states(input, 5);
    const Outputs expected = run_forward(input, GetParam());
    const Gradients d_expected = run_backward(input, GetParam());
    const DType dtype = GetParam().dtype;
    const std::size_t bytes = ((std::size_t{1} << 31) + 4096) * dtype_size(dtype);
    for (int axis = 0; axis < 3; ++axis) {
      const Device device = open_device(GetParam());
      SparseMap maps[] = {{device, bytes}, {device, bytes}, {device, bytes}, {device, bytes}};
      for (const SparseMap& map : maps) {
        if (!map.good()) GTEST_SKIP() << "this machine grants no sparse map of " << bytes;
      }
      AttentionArgs args;
      args.q = far_view(maps[0], dtype, input.key_shape(), axis);
      args.k = far_view(maps[1], dtype, input.key_shape(), axis);
      args.v = far_view(maps[2], dtype, input.value_shape(), axis);
      args.o = far_view(maps[3], dtype, input.value_shape(), axis);
      copy_far(device, args.q, input.q, true);
      copy_far(device, args.k, input.k, true);
      copy_far(device, args.v, input.v, true);
      args.log_decay = input.log_decay;
      args.direction = direction;
      Tensor state(state_dtype(dtype), input.state_shape());
      state.set(input.state_in);
      OnDevice on(device);
      args.state_in = on(state);
      const AttentionPlan plan =
          take(plan_attention(args, GetParam().plan_properties(device), GetParam().plan_options()));
      EXPECT_OK(attention_forward(args, plan, on.workspace(plan.workspace_bytes), device));
      std::vector<double> found(input.v.size());
      copy_far(device, args.o, found, false);
      EXPECT_EQ(found, expected.o) << "axis " << axis;

      // The maps' second halves serve as gradients: dk over o's map, d_o contiguous.
      Tensor d_o(dtype, input.value_shape()), dq(dtype, input.key_shape());
      Tensor dv(dtype, input.value_shape());
      d_o.set(input.d_o);
      AttentionGradients gradients;
      gradients.d_o = on(d_o);
      gradients.dq = on(dq);
      gradients.dk = far_view(maps[3], dtype, input.key_shape(), axis);
      gradients.dv = on(dv);
      Tensor d_state(state_dtype(dtype), input.state_shape());
      d_state.set(input.d_state_out);
      gradients.d_state_out = on(d_state);
      const AttentionPlan d_plan = take(plan_attention_backward(
          args, gradients, GetParam().plan_properties(device), GetParam().plan_options()));
      EXPECT_OK(attention_backward(args, gradients, d_plan, on.workspace(d_plan.workspace_bytes),
                                   device));
      on.fetch();
      std::vector<double> dk(input.k.size());
      copy_far(device, gradients.dk, dk, false);
      EXPECT_EQ(dk, d_expected.dk) << "axis " << axis;
      EXPECT_EQ(dq.values(), d_expected.dq) << "axis " << axis;
      EXPECT_EQ(dv.values(), d_expected.dv) << "axis " << axis;
    }
  }
}

TEST_P(Memory, StateSlotsPastTwoToThe31) {
  const DType dtype = GetParam().dtype;
  const std::int64_t slots = (std::int64_t{1} << 27) + 2;  // of 16 elements
  const Device device = open_device(GetParam());
  const SparseMap map(device, slots * 16 * dtype_size(state_dtype(dtype)));
  if (!map.good()) GTEST_SKIP() << "this machine grants no sparse map of that size";
  const std::vector<double> ones(4, 1.0);
  Tensor q(dtype, {1, 1, 4}), o(dtype, {1, 1, 4});
  q.set(ones);
  OnDevice on(device);
  const std::vector<float> log_decay = {0.0f};
  const std::vector<std::int64_t> last = {slots - 1};
  AttentionStepArgs args;
  args.q = args.k = args.v = on(q);
  args.o = on(o);
  args.log_decay = log_decay;
  args.state = TensorView::contiguous(map.data(), state_dtype(dtype), {slots, 1, 4, 4});
  args.state_slots = last;
  EXPECT_OK(attention_step(args, device, GetParam().kernel));
  EXPECT_OK(attention_step(args, device, GetParam().kernel));
  on.fetch();
  EXPECT_EQ(o.values(), std::vector<double>(4, 8.0));
}

bool all_nan(const std::vector<double>& values, std::int64_t first, std::int64_t count) {
  for (std::int64_t i = first; i < first + count; ++i) {
    if (!std::isnan(values[i])) return false;
  }
  return true;
}

// A poisoned sequence of a pack is alone with its poison.
TEST_P(Memory, PoisonStaysInItsSequence) {
  AttentionCase input = random_case(6, 1, 130, 2, 24, 40);
  input.cu_seqlens = {0, 37, 70, 111, 130};
  add_states(input, 7);
  const Outputs clean = run_forward(input, GetParam());
  const Gradients d_clean = run_backward(input, GetParam());
  for (const double poison : {kNaN, std::numeric_limits<double>::infinity()}) {
    AttentionCase dirty = input;
    const std::int64_t keys = 2 * 24, columns = 2 * 40, state = 2 * 24 * 40;
    for (const std::int64_t n : {1, 3}) {
      const std::int64_t begin = input.begin(n), length = input.length(n);
      for (auto* data : {&dirty.q, &dirty.k}) {
        std::fill_n(data->begin() + begin * keys, length * keys, poison);
      }
      for (auto* data : {&dirty.v, &dirty.d_o}) {
        std::fill_n(data->begin() + begin * columns, length * columns, poison);
      }
      for (auto* data : {&dirty.state_in, &dirty.d_state_out}) {
        std::fill_n(data->begin() + n * state, state, poison);
      }
    }
    const Outputs found = run_forward(dirty, GetParam());
    const Gradients d_found = run_backward(dirty, GetParam());
    const auto same = [](const std::vector<double>& a, const std::vector<double>& b,
                         std::int64_t first, std::int64_t count) {
      return std::equal(a.begin() + first, a.begin() + first + count, b.begin() + first);
    };
    for (const std::int64_t n : {0, 2}) {
      const std::int64_t begin = input.begin(n), length = input.length(n);
      EXPECT_TRUE(same(found.o, clean.o, begin * columns, length * columns));
      EXPECT_TRUE(same(found.state_out, clean.state_out, n * state, state));
      EXPECT_TRUE(same(d_found.dq, d_clean.dq, begin * keys, length * keys));
      EXPECT_TRUE(same(d_found.dk, d_clean.dk, begin * keys, length * keys));
      EXPECT_TRUE(same(d_found.dv, d_clean.dv, begin * columns, length * columns));
      EXPECT_TRUE(same(d_found.d_state_in, d_clean.d_state_in, n * state, state));
    }
  }
}

// Tokens that are padded behind the text may hold anything: nothing flows back in time. On tensor
// cores that holds for whole chunks: 0 times NaN is NaN.
TEST_P(Memory, PoisonNeverFlowsBackInTime) {
  const std::int64_t K = GetParam().width(20), V = GetParam().width(36);
  const AttentionCase input = random_case(8, 1, 70, 2, K, V);
  const std::int64_t chunk = GetParam().tokens_together();
  const Outputs clean = run_forward(input, GetParam());
  for (const std::int64_t first : {0, 1, 5, 15, 16, 17, 31, 33, 50, 65, 69}) {
    for (const char which : {'q', 'k', 'v'}) {
      AttentionCase dirty = input;
      std::vector<double>& data = which == 'q' ? dirty.q : which == 'k' ? dirty.k : dirty.v;
      const std::int64_t row = 2 * (which == 'v' ? V : K);
      std::fill(data.begin() + first * row, data.end(), kNaN);
      const Outputs found = run_forward(dirty, GetParam());
      for (std::int64_t t = 0; t < first / chunk * chunk; ++t) {
        for (std::int64_t c = 0; c < 2 * V; ++c) {
          ASSERT_NEAR(found.o[t * 2 * V + c], clean.o[t * 2 * V + c],
                      1e-4 * (1 + std::abs(clean.o[t * 2 * V + c])))
              << which << " from " << first << " at " << t;
        }
      }
      EXPECT_TRUE(all_nan(found.o, first * 2 * V, (70 - first) * 2 * V));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, Memory, testing::ValuesIn(all_kernels()),
                         [](const auto& info) { return name_of(info.param); });
INSTANTIATE_TEST_SUITE_P(Gpu, Memory, testing::ValuesIn(gpu_kernels()),
                         [](const auto& info) { return name_of(info.param); });
INSTANTIATE_TEST_SUITE_P(Segments, Memory, testing::ValuesIn(cpu_segments()),
                         [](const auto& info) { return name_of(info.param); });

}  // namespace
}  // namespace tnl::test
