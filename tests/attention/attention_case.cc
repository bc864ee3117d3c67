#include "attention/attention_case.h"

#include <cmath>
#include <limits>

#include "attention/on_device.h"
#include "core/convert.h"
#include "core/rng.h"
#include "support/require.h"

namespace tnl::test {
namespace {

double read(const TensorView& view, std::int64_t offset) {
  double value = 0;
  const std::int64_t size = dtype_size(view.dtype);
  convert(static_cast<const std::byte*>(view.data) + offset * size, view.dtype, &value, DType::kF64,
          1);
  return value;
}

void write(const TensorView& view, std::int64_t offset, double value) {
  const std::int64_t size = dtype_size(view.dtype);
  convert(&value, DType::kF64, static_cast<std::byte*>(view.data) + offset * size, view.dtype, 1);
}

// Offsets in row-major order of the shape.
template <class Body>
void for_each_offset(const TensorView& view, const Body& body) {
  for (std::int64_t index = 0; index < view.elements(); ++index) {
    std::int64_t rest = index, offset = 0;
    for (int axis = view.rank - 1; axis >= 0; --axis) {
      offset += rest % view.shape[axis] * view.stride[axis];
      rest /= view.shape[axis];
    }
    body(index, offset);
  }
}

Tensor tensor(const Variant& variant, const std::vector<std::int64_t>& shape,
              const std::vector<double>& values = {}) {
  Tensor result(variant.dtype, shape, variant.gap);
  if (!values.empty()) result.set(values);
  return result;
}

Tensor state_tensor(const Variant& variant, const AttentionCase& input,
                    const std::vector<double>& values = {}) {
  Tensor result(variant.dtype == DType::kF64 ? DType::kF64 : DType::kF32, input.state_shape());
  if (!values.empty()) result.set(values);
  return result;
}

AttentionArgs common_args(const AttentionCase& input) {
  AttentionArgs args;
  args.log_decay = input.log_decay;
  args.scale = input.scale;
  args.direction = input.direction;
  args.cu_seqlens = input.cu_seqlens;
  return args;
}

std::vector<double> normals(Rng& rng, std::int64_t count) {
  std::vector<double> values(count);
  for (double& value : values) value = rng.normal();
  return values;
}

}  // namespace

Tensor::Tensor(DType dtype, const std::vector<std::int64_t>& shape, std::int64_t gap) {
  view_.dtype = dtype;
  view_.rank = static_cast<int>(shape.size());
  std::int64_t stride = 1;
  for (int axis = view_.rank - 1; axis >= 0; --axis) {
    view_.shape[axis] = shape[axis];
    view_.stride[axis] = stride;
    stride *= shape[axis];
    if (axis == view_.rank - 1) stride += gap;
  }
  memory_.resize((stride + gap) * dtype_size(dtype));
  view_.data = memory_.data();
  for (std::int64_t offset = 0; offset < stride + gap; ++offset) {
    write(view_, offset, std::numeric_limits<double>::quiet_NaN());
  }
}

std::vector<double> Tensor::values() const {
  std::vector<double> values(view_.elements());
  for_each_offset(
      view_, [&](std::int64_t index, std::int64_t offset) { values[index] = read(view_, offset); });
  return values;
}

void Tensor::set(const std::vector<double>& values) {
  for_each_offset(view_, [&](std::int64_t index, std::int64_t offset) {
    write(view_, offset, values.at(index));
  });
}

std::int64_t AttentionCase::sequences() const {
  return cu_seqlens.empty() ? batch : static_cast<std::int64_t>(cu_seqlens.size()) - 1;
}
std::vector<std::int64_t> AttentionCase::key_shape() const {
  if (!cu_seqlens.empty()) return {tokens, heads, key_dim};
  return {batch, tokens, heads, key_dim};
}
std::vector<std::int64_t> AttentionCase::value_shape() const {
  if (!cu_seqlens.empty()) return {tokens, heads, value_dim};
  return {batch, tokens, heads, value_dim};
}
std::vector<std::int64_t> AttentionCase::state_shape() const {
  return {sequences(), heads, key_dim, value_dim};
}
std::int64_t AttentionCase::begin(std::int64_t n) const {
  return cu_seqlens.empty() ? n * tokens : cu_seqlens[n];
}
std::int64_t AttentionCase::length(std::int64_t n) const {
  return cu_seqlens.empty() ? tokens : cu_seqlens[n + 1] - cu_seqlens[n];
}
std::int64_t AttentionCase::row(std::int64_t n, std::int64_t t, std::int64_t h,
                                std::int64_t width) const {
  return ((begin(n) + t) * heads + h) * width;
}

Outputs run_forward(const AttentionCase& input, const Variant& variant) {
  const Device device = open_device(variant);
  OnDevice on(device);
  const Tensor q = tensor(variant, input.key_shape(), input.q);
  const Tensor k = tensor(variant, input.key_shape(), input.k);
  const Tensor v = tensor(variant, input.value_shape(), input.v);
  const Tensor o = tensor(variant, input.value_shape());
  const Tensor state_in = state_tensor(variant, input, input.state_in);
  const Tensor state_out = state_tensor(variant, input);
  AttentionArgs args = common_args(input);
  args.q = on(q);
  args.k = on(k);
  args.v = on(v);
  args.o = on(o);
  if (!input.state_in.empty()) args.state_in = on(state_in);
  args.state_out = variant.state_in_place ? on(state_in.view()) : on(state_out);
  const AttentionPlan plan =
      take(plan_attention(args, variant.plan_properties(device), variant.plan_options()));
  EXPECT_OK(attention_forward(args, plan, on.workspace(plan.workspace_bytes), device));
  on.fetch();
  return {o.values(), (variant.state_in_place ? state_in : state_out).values()};
}

Gradients run_backward(const AttentionCase& input, const Variant& variant) {
  const Device device = open_device(variant);
  OnDevice on(device);
  const Tensor q = tensor(variant, input.key_shape(), input.q);
  const Tensor k = tensor(variant, input.key_shape(), input.k);
  const Tensor v = tensor(variant, input.value_shape(), input.v);
  const Tensor d_o = tensor(variant, input.value_shape(), input.d_o);
  const Tensor dq = tensor(variant, input.key_shape());
  const Tensor dk = tensor(variant, input.key_shape());
  const Tensor dv = tensor(variant, input.value_shape());
  const Tensor state_in = state_tensor(variant, input, input.state_in);
  const Tensor d_state_out = state_tensor(variant, input, input.d_state_out);
  const Tensor d_state_in = state_tensor(variant, input);
  AttentionArgs args = common_args(input);
  args.q = on(q);
  args.k = on(k);
  args.v = on(v);
  if (!input.state_in.empty()) args.state_in = on(state_in);
  AttentionGradients gradients;
  gradients.d_o = on(d_o);
  gradients.dq = on(dq);
  gradients.dk = on(dk);
  gradients.dv = on(dv);
  if (!input.d_state_out.empty()) gradients.d_state_out = on(d_state_out);
  gradients.d_state_in = variant.state_in_place ? on(d_state_out.view()) : on(d_state_in);
  const AttentionPlan plan = take(plan_attention_backward(
      args, gradients, variant.plan_properties(device), variant.plan_options()));
  EXPECT_OK(attention_backward(args, gradients, plan, on.workspace(plan.workspace_bytes), device));
  on.fetch();
  return {dq.values(), dk.values(), dv.values(),
          (variant.state_in_place ? d_state_out : d_state_in).values()};
}

std::vector<Variant> fast_kernels() {
  std::vector<Variant> variants;
  for (const std::string& target : available_cpu_targets()) variants.push_back({.kernel = target});
  return variants;
}

std::vector<Variant> all_kernels() {
  std::vector<Variant> variants = fast_kernels();
  variants.push_back({.kernel = "reference-recurrent", .dtype = DType::kF64});
  variants.push_back({.kernel = "reference-chunked", .dtype = DType::kF64});
  return variants;
}

std::vector<Variant> gpu_kernels() {
  std::vector<Variant> variants;
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    variants.push_back({.kernel = "general", .dtype = dtype});
  }
  for (const char* precision : {"", "fast", "state", "precise"}) {
    for (const DType dtype : {DType::kBF16, DType::kF16}) {
      variants.push_back({.dtype = dtype, .precision = precision, .width_step = 8});
    }
  }
  variants.push_back({.dtype = DType::kF32});
  // What devices before Hopper run.
  for (const char* precision : {"fast", "precise"}) {
    variants.push_back(
        {.dtype = DType::kBF16, .capability = 80, .precision = precision, .width_step = 8});
  }
  for (Variant& variant : variants) variant.on_gpu = true;
  return variants;
}

std::vector<Variant> cpu_segments() {
  std::vector<Variant> variants;
  for (Variant variant : fast_kernels()) {
    for (const std::int64_t runs : {2, 7, 64}) {
      variant.runs = runs;
      variant.threads = 2;
      variants.push_back(variant);
    }
  }
  return variants;
}

std::vector<Variant> gpu_segments() {
  std::vector<Variant> variants;
  const Variant base{.dtype = DType::kBF16, .on_gpu = true, .width_step = 8};
  for (const char* segments : {"warm", "carry"}) {
    for (const std::int64_t runs : {1, 2, 7, 64}) {
      variants.push_back(base);
      variants.back().segments = segments;
      variants.back().runs = runs;
    }
  }
  variants.push_back(base);
  variants.back().batch_invariant = true;
  for (const char* segments : {"warm", "carry"}) {
    variants.push_back(base);
    variants.back().capability = 80;
    variants.back().segments = segments;
    variants.back().runs = 7;
  }
  return variants;
}

std::string name_of(const Variant& variant) {
  std::string name = variant.kernel;
  if (name.starts_with("reference-")) name = name.substr(10);
  if (!variant.on_gpu && variant.runs > 0) name += "_" + std::to_string(variant.runs);
  if (!variant.on_gpu) return name;
  name += (name.empty() ? "" : "_") + std::string(dtype_name(variant.dtype));
  if (variant.capability > 0) name += "_sm" + std::to_string(variant.capability);
  if (!variant.precision.empty()) name += "_" + variant.precision;
  if (!variant.segments.empty()) name += "_" + variant.segments;
  if (variant.runs > 0) name += "_" + std::to_string(variant.runs);
  if (variant.batch_invariant) name += "_batch_invariant";
  return name;
}

DeviceProperties Variant::plan_properties(const Device& device) const {
  DeviceProperties properties = device.properties();
  if (capability > 0) properties.gpu.capability = capability;
  return properties;
}

AttentionPlanOptions Variant::plan_options() const {
  return {.kernel = kernel,
          .chunk = chunk,
          .value_slice = value_slice,
          .segments = segments,
          .runs = runs,
          .precision = precision,
          .batch_invariant = batch_invariant};
}

void KernelTest::SetUp() {
  if (GetParam().on_gpu && !no_gpu_because().empty()) GTEST_SKIP() << no_gpu_because();
}

AttentionCase random_case(std::uint64_t seed, std::int64_t batch, std::int64_t tokens,
                          std::int64_t heads, std::int64_t key_dim, std::int64_t value_dim) {
  Rng rng(seed);
  AttentionCase input;
  input.batch = batch;
  input.tokens = tokens;
  input.heads = heads;
  input.key_dim = key_dim;
  input.value_dim = value_dim;
  for (std::int64_t h = 0; h < heads; ++h) {
    const float slope = h + 1 == heads ? 0.0f : std::exp2(-static_cast<float>(2 * h));
    input.log_decay.push_back(-slope);
  }
  const std::int64_t rows = batch * tokens * heads;
  input.q = normals(rng, rows * key_dim);
  input.k = normals(rng, rows * key_dim);
  input.v = normals(rng, rows * value_dim);
  input.d_o = normals(rng, rows * value_dim);
  return input;
}

void add_states(AttentionCase& input, std::uint64_t seed) {
  Rng rng(seed);
  const std::int64_t count = input.sequences() * input.heads * input.key_dim * input.value_dim;
  input.state_in = normals(rng, count);
  input.d_state_out = normals(rng, count);
}

std::vector<double> rounded(const std::vector<double>& values, DType dtype) {
  std::vector<double> result(values.size());
  std::vector<std::byte> stored(values.size() * dtype_size(dtype));
  const auto count = static_cast<std::int64_t>(values.size());
  convert(values.data(), DType::kF64, stored.data(), dtype, count);
  convert(stored.data(), dtype, result.data(), DType::kF64, count);
  return result;
}

AttentionCase rounded(AttentionCase input, DType dtype) {
  for (std::vector<double>* data : {&input.q, &input.k, &input.v, &input.d_o}) {
    *data = rounded(*data, dtype);
  }
  for (std::vector<double>* data : {&input.state_in, &input.d_state_out}) {
    *data = rounded(*data, dtype == DType::kF64 ? DType::kF64 : DType::kF32);
  }
  return input;
}

double relative_rms(const std::vector<double>& found, const std::vector<double>& expected) {
  EXPECT_EQ(found.size(), expected.size());
  double error = 0, norm = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    error += (found[i] - expected[i]) * (found[i] - expected[i]);
    norm += expected[i] * expected[i];
  }
  if (norm == 0) return error == 0 ? 0 : std::numeric_limits<double>::infinity();
  return std::sqrt(error / norm);
}

}  // namespace tnl::test
