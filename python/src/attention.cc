// The operator over raw pointers. A tensor arrives as (address, dtype, shape, strides) with strides
// in elements, or as None; python/tnl/ops.py keeps its memory alive for the length of the call.
#include <nanobind/stl/string.h>

#include <cstring>
#include <map>
#include <mutex>
#include <span>
#include <utility>

#include "support.h"
#include "tnl/attention.h"

namespace tnl::python {

namespace {

TensorView view_of(nb::handle description) {
  TensorView view;
  if (description.is_none()) return view;
  const auto parts = nb::cast<nb::tuple>(description);
  view.data = reinterpret_cast<void*>(nb::cast<std::uintptr_t>(parts[0]));
  view.dtype = static_cast<DType>(nb::cast<int>(parts[1]));
  const auto shape = nb::cast<nb::tuple>(parts[2]), stride = nb::cast<nb::tuple>(parts[3]);
  if (shape.size() > TensorView::kMaxRank || shape.size() != stride.size()) {
    throw nb::value_error("a tensor: expected at most 4 dimensions, one stride for each");
  }
  view.rank = static_cast<int>(shape.size());
  for (int i = 0; i < view.rank; ++i) {
    view.shape[i] = nb::cast<std::int64_t>(shape[i]);
    view.stride[i] = nb::cast<std::int64_t>(stride[i]);
  }
  return view;
}

template <class T>
std::span<const T> span_of(nb::handle description) {
  const TensorView view = view_of(description);
  return {static_cast<const T*>(view.data),
          view.given() ? static_cast<std::size_t>(view.shape[0]) : 0};
}

// `stream`: the address of a CUDA stream; on the CPU it is not looked at.
Stream stream_of(std::uintptr_t stream) {
  return Stream::of(reinterpret_cast<void*>(stream));
}

// What a plan may depend on, as bytes.
class Key {
 public:
  explicit Key(const std::string& start) : bytes_(start) {}
  template <class T>
  Key& add(const T& value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof(value));
    return *this;
  }
  Key& add(const TensorView& view) {
    add(view.dtype).add(view.rank).add(view.shape).add(view.stride);
    return add(reinterpret_cast<std::uintptr_t>(view.data) % 256);
  }
  template <class T>
  Key& add(std::span<const T> values) {
    bytes_.append(reinterpret_cast<const char*>(values.data()), values.size_bytes());
    return add(values.size());
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

Key key_of(const std::string& device, int threads, const AttentionArgs& args) {
  Key key(device);
  key.add(threads).add(args.q).add(args.k).add(args.v).add(args.o).add(args.log_decay);
  key.add(args.direction).add(args.cu_seqlens).add(args.state_in).add(args.state_out);
  return key;
}

// Plans by everything they depend on: a training loop asks for the same few over and over.
template <class Make>
const AttentionPlan plan_for(const Key& key, const Make& make) {
  constexpr std::size_t kMostPlans = 512;
  static std::mutex mutex;
  static auto* const plans = new std::map<std::string, AttentionPlan>;
  {
    const std::lock_guard lock(mutex);
    if (const auto found = plans->find(key.bytes()); found != plans->end()) return found->second;
  }
  AttentionPlan plan = take(make());
  const std::lock_guard lock(mutex);
  if (plans->size() >= kMostPlans) plans->clear();
  plans->emplace(key.bytes(), plan);
  return plan;
}

// `allocate(bytes)` gives (owner, address).
nb::object workspace_for(const AttentionPlan& plan, const nb::callable& allocate, void*& address) {
  address = nullptr;
  if (plan.workspace_bytes == 0) return nb::none();
  const auto memory = nb::cast<nb::tuple>(allocate(plan.workspace_bytes));
  address = reinterpret_cast<void*>(nb::cast<std::uintptr_t>(memory[1]));
  return memory[0];
}

AttentionArgs arguments(nb::handle q, nb::handle k, nb::handle v, nb::handle o,
                        nb::handle log_decay, float scale, bool reverse, nb::handle cu_seqlens,
                        nb::handle state_in, nb::handle state_out) {
  AttentionArgs args;
  args.q = view_of(q);
  args.k = view_of(k);
  args.v = view_of(v);
  args.o = view_of(o);
  args.log_decay = span_of<float>(log_decay);
  args.scale = scale;
  args.direction = reverse ? Direction::kReverse : Direction::kForward;
  args.cu_seqlens = span_of<std::int64_t>(cu_seqlens);
  args.state_in = view_of(state_in);
  args.state_out = view_of(state_out);
  return args;
}

void forward(const std::string& device_name, int threads, std::uintptr_t stream, nb::handle q,
             nb::handle k, nb::handle v, nb::handle o, nb::handle log_decay, float scale,
             bool reverse, nb::handle cu_seqlens, nb::handle state_in, nb::handle state_out,
             const nb::callable& allocate) {
  const Device& device = device_of(device_name, threads);
  const AttentionArgs args =
      arguments(q, k, v, o, log_decay, scale, reverse, cu_seqlens, state_in, state_out);
  const AttentionPlan plan = plan_for(key_of(device_name, threads, args),
                                      [&] { return plan_attention(args, device.properties()); });
  void* address;
  const nb::object workspace = workspace_for(plan, allocate, address);
  Status status;
  {
    const nb::gil_scoped_release release;
    status = attention_forward(args, plan, address, device, stream_of(stream));
  }
  check(status);
}

void backward(const std::string& device_name, int threads, std::uintptr_t stream, nb::handle q,
              nb::handle k, nb::handle v, nb::handle d_o, nb::handle log_decay, float scale,
              bool reverse, nb::handle cu_seqlens, nb::handle state_in, nb::handle d_state_out,
              nb::handle dq, nb::handle dk, nb::handle dv, nb::handle d_state_in,
              const nb::callable& allocate) {
  const Device& device = device_of(device_name, threads);
  const AttentionArgs args =
      arguments(q, k, v, nb::none(), log_decay, scale, reverse, cu_seqlens, state_in, nb::none());
  AttentionGradients gradients;
  gradients.d_o = view_of(d_o);
  gradients.d_state_out = view_of(d_state_out);
  gradients.dq = view_of(dq);
  gradients.dk = view_of(dk);
  gradients.dv = view_of(dv);
  gradients.d_state_in = view_of(d_state_in);
  Key key = key_of(device_name, threads, args);
  key.add(gradients.d_o).add(gradients.d_state_out).add(gradients.dq).add(gradients.dk);
  key.add(gradients.dv).add(gradients.d_state_in);
  const AttentionPlan plan =
      plan_for(key, [&] { return plan_attention_backward(args, gradients, device.properties()); });
  void* address;
  const nb::object workspace = workspace_for(plan, allocate, address);
  Status status;
  {
    const nb::gil_scoped_release release;
    status = attention_backward(args, gradients, plan, address, device, stream_of(stream));
  }
  check(status);
}

void step(const std::string& device_name, int threads, std::uintptr_t stream, nb::handle q,
          nb::handle k, nb::handle v, nb::handle o, nb::handle log_decay, float scale,
          nb::handle state, nb::handle slots) {
  const Device& device = device_of(device_name, threads);
  AttentionStepArgs args;
  args.q = view_of(q);
  args.k = view_of(k);
  args.v = view_of(v);
  args.o = view_of(o);
  args.log_decay = span_of<float>(log_decay);
  args.scale = scale;
  args.state = view_of(state);
  args.state_slots = span_of<std::int64_t>(slots);
  Status status;
  {
    const nb::gil_scoped_release release;
    status = attention_step(args, device, {}, stream_of(stream));
  }
  check(status);
}

}  // namespace

void bind_attention(nb::module_& module) {
  nb::dict dtypes;
  for (const DType dtype : {DType::kF64, DType::kF32, DType::kBF16, DType::kF16, DType::kI64}) {
    const std::string_view name = dtype_name(dtype);
    dtypes[nb::str(name.data(), name.size())] = static_cast<int>(dtype);
  }
  module.attr("dtypes") = dtypes;
  module.def("open_device", [](const std::string& name, int threads) { device_of(name, threads); });
  const auto tensor = [](const char* name) { return nb::arg(name).none(); };
  module.def("attention_forward", &forward, nb::arg("device"), nb::arg("threads"),
             nb::arg("stream"), tensor("q"), tensor("k"), tensor("v"), tensor("o"),
             tensor("log_decay"), nb::arg("scale"), nb::arg("reverse"), tensor("cu_seqlens"),
             tensor("state_in"), tensor("state_out"), nb::arg("allocate"));
  module.def("attention_backward", &backward, nb::arg("device"), nb::arg("threads"),
             nb::arg("stream"), tensor("q"), tensor("k"), tensor("v"), tensor("d_o"),
             tensor("log_decay"), nb::arg("scale"), nb::arg("reverse"), tensor("cu_seqlens"),
             tensor("state_in"), tensor("d_state_out"), tensor("dq"), tensor("dk"), tensor("dv"),
             tensor("d_state_in"), nb::arg("allocate"));
  module.def("attention_step", &step, nb::arg("device"), nb::arg("threads"), nb::arg("stream"),
             tensor("q"), tensor("k"), tensor("v"), tensor("o"), tensor("log_decay"),
             nb::arg("scale"), tensor("state"), tensor("state_slots"));
}

}  // namespace tnl::python
