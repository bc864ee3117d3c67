#include "attention_call.h"

#include <chrono>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>

#include "tnl/attention.h"

namespace tnl::python {

namespace {

// The library's names of arguments that are called otherwise here.
void check_call(const Status& status) {
  if (status.ok()) return;
  constexpr std::pair<std::string_view, std::string_view> kNames[] = {
      {"state_in:", "initial_state:"}, {"d_state_out:", "d_final_state:"}};
  std::string text = status.message();
  for (const auto& [theirs, ours] : kNames) {
    if (text.starts_with(theirs)) text.replace(0, theirs.size(), ours);
  }
  raise(Status(status.code(), text));
}

template <class T>
T take_call(Result<T> result) {
  check_call(result.status());
  return std::move(result).value();
}

void check_place(const char* name, const TorchTensor& x, const TorchTensor& q) {
  if (!x.given() || x.place == q.place) return;
  throw nb::value_error((std::string(name) + ": found a tensor on " + describe(x.place) +
                         ", expected " + describe(q.place) + " as q is")
                            .c_str());
}

void check_rank(const char* name, const TorchTensor& x, int rank, const char* axes) {
  if (x.view.rank == rank) return;
  if (!x.given()) {
    throw nb::value_error((std::string(name) + ": found None, expected a tensor " + axes).c_str());
  }
  throw nb::value_error((std::string(name) + ": found " + std::to_string(x.view.rank) +
                         " dimensions, expected " + std::to_string(rank) + ": " + axes)
                            .c_str());
}

// [1, total, H, D] as [total, H, D].
TensorView without_batch(TensorView view) {
  for (int axis = 1; axis < view.rank; ++axis) {
    view.shape[axis - 1] = view.shape[axis];
    view.stride[axis - 1] = view.stride[axis];
  }
  --view.rank;
  view.shape[view.rank] = view.stride[view.rank] = 0;
  return view;
}

TensorView view_of(const TorchTensor& x, const Settings& settings) {
  return settings.packed() && x.given() ? without_batch(x.view) : x.view;
}

// What both passes read.
struct Inputs {
  TorchTensor q, k, v, state;

  Inputs(const Settings& settings, nb::handle q_, nb::handle k_, nb::handle v_, nb::handle state_)
      : q(read_rows("q", q_)),
        k(read_rows("k", k_)),
        v(read_rows("v", v_)),
        state(read_contiguous("initial_state", state_)) {
    check_rank("q", q, 4, "[B, T, H, K]");
    check_rank("k", k, 4, "[B, T, H, K]");
    check_rank("v", v, 4, "[B, T, H, V]");
    check_place("k", k, q);
    check_place("v", v, q);
    check_place("initial_state", state, q);
    if (settings.packed() && q.view.shape[0] != 1) {
      throw nb::value_error(("q: found a batch of " + std::to_string(q.view.shape[0]) +
                             ", expected 1 with cu_seqlens: packed sequences lie one behind the "
                             "other")
                                .c_str());
    }
  }

  DType state_dtype() const { return q.view.dtype == DType::kF64 ? DType::kF64 : DType::kF32; }
  AttentionArgs arguments(const Settings& settings) const {
    AttentionArgs args;
    args.q = view_of(q, settings);
    args.k = view_of(k, settings);
    args.v = view_of(v, settings);
    args.log_decay = settings.log_decay;
    args.scale = settings.scale;
    args.direction = settings.reverse ? Direction::kReverse : Direction::kForward;
    args.cu_seqlens = settings.cu_seqlens;
    args.state_in = state.view;
    return args;
  }
};

// What a plan may depend on, as bytes.
class Key {
 public:
  explicit Key(const Device* device) {
    bytes_.reserve(1024);
    add(device);
  }
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
  Key& add(const AttentionArgs& args) {
    add(args.q).add(args.k).add(args.v).add(args.o).add(args.log_decay).add(args.direction);
    return add(args.cu_seqlens).add(args.state_in).add(args.state_out);
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

using SharedPlan = std::shared_ptr<const AttentionPlan>;

// Plans by everything they depend on: a training loop asks for the same few over and over.
template <class Make>
SharedPlan plan_for(const Key& key, const Make& make) {
  constexpr std::size_t kMostPlans = 512;
  static std::mutex mutex;
  static auto* const plans = new std::unordered_map<std::string, SharedPlan>;
  {
    const std::lock_guard lock(mutex);
    if (const auto found = plans->find(key.bytes()); found != plans->end()) return found->second;
  }
  const auto plan = std::make_shared<const AttentionPlan>(take_call(make()));
  const std::lock_guard lock(mutex);
  if (plans->size() >= kMostPlans) plans->clear();
  plans->emplace(key.bytes(), plan);
  return plan;
}

// On the stream of the call, so that memory handed back early is used again only behind it.
class Workspace {
 public:
  Workspace(std::size_t bytes, Place place) {
    if (bytes == 0) return;
    const auto [memory, start] = new_bytes(static_cast<std::int64_t>(bytes + kAlignment), place);
    memory_ = memory;
    address_ = reinterpret_cast<void*>((start + kAlignment - 1) / kAlignment * kAlignment);
  }
  void* address() const { return address_; }

 private:
  static constexpr std::size_t kAlignment = 256;
  nb::object memory_;
  void* address_ = nullptr;
};

// int32 slots on q's GPU stay there: the step reads them when it runs.
TorchTensor slots_of_device(nb::handle slots, const TorchTensor& q) {
  if (q.place.kind != DeviceKind::kCuda || !is_tensor(slots)) return {};
  TorchTensor found = read_contiguous("state_slots", slots);
  if (found.view.dtype != DType::kI32 || !(found.place == q.place)) return {};
  return found;
}

template <class Call>
double seconds_of(SharedDevice& shared, int calls, const Call& call) {
  Status status;
  std::chrono::duration<double> passed{};
  {
    const Working working(shared);
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < calls && status.ok(); ++i) status = call();
    passed = std::chrono::steady_clock::now() - begin;
  }
  check_call(status);
  return passed.count() / calls;
}

}  // namespace

Settings::Settings(nb::handle decay, nb::handle scale_, nb::handle lengths, nb::handle reverse_)
    : log_decay(read_decay(decay)),
      scale(read_number("scale", scale_)),
      cu_seqlens(read_integers("cu_seqlens", lengths)),
      reverse(read_flag("reverse", reverse_)) {
  if (!lengths.is_none() && cu_seqlens.empty()) {
    throw nb::value_error("cu_seqlens: found no offset, expected N + 1, the first of them 0");
  }
}

nb::tuple forward(const Settings& settings, nb::handle q, nb::handle k, nb::handle v,
                  nb::handle initial_state, nb::handle output_final_state) {
  const bool with_final_state = read_flag("output_final_state", output_final_state);
  const Inputs in(settings, q, k, v, initial_state);
  const KeepCurrentGpu keep(in.q.place);
  SharedDevice& shared = device_at(in.q.place);
  const Device& device = shared.device;
  const TorchTensor o = new_like(in.v);
  AttentionArgs args = in.arguments(settings);
  args.o = view_of(o, settings);
  TorchTensor state_out;
  state_out.object = nb::none();
  if (with_final_state) {
    const auto packed = static_cast<std::int64_t>(settings.cu_seqlens.size()) - 1;
    state_out = new_tensor({settings.packed() ? packed : in.q.view.shape[0], in.q.view.shape[2],
                            in.q.view.shape[3], in.v.view.shape[3]},
                           in.state_dtype(), in.q.place);
    args.state_out = state_out.view;
  }
  const SharedPlan plan =
      plan_for(Key(&device).add(args), [&] { return plan_attention(args, device.properties()); });
  const Workspace workspace(plan->workspace_bytes, in.q.place);
  const Stream stream = current_stream(in.q.place);
  Status status;
  {
    const Working working(shared);
    status = attention_forward(args, *plan, workspace.address(), device, stream);
  }
  check_call(status);
  return nb::make_tuple(o.object, state_out.object);
}

GradientObjects backward(const Settings& settings, nb::handle d_o, nb::handle d_final_state,
                         nb::handle q, nb::handle k, nb::handle v, nb::handle initial_state) {
  const Inputs in(settings, q, k, v, initial_state);
  const KeepCurrentGpu keep(in.q.place);
  SharedDevice& shared = device_at(in.q.place);
  const Device& device = shared.device;
  const TorchTensor d_out = read_rows("d_o", d_o);
  const TorchTensor d_state_out = read_contiguous("d_final_state", d_final_state);
  check_place("d_o", d_out, in.q);
  check_place("d_final_state", d_state_out, in.q);
  const TorchTensor dq = new_like(in.q), dk = new_like(in.k), dv = new_like(in.v);
  TorchTensor d_state_in;
  d_state_in.object = nb::none();
  if (in.state.given()) d_state_in = new_like(in.state);
  const AttentionArgs args = in.arguments(settings);
  AttentionGradients gradients;
  gradients.d_o = view_of(d_out, settings);
  gradients.d_state_out = d_state_out.view;
  gradients.dq = view_of(dq, settings);
  gradients.dk = view_of(dk, settings);
  gradients.dv = view_of(dv, settings);
  gradients.d_state_in = d_state_in.view;
  Key key(&device);
  key.add(args).add(gradients.d_o).add(gradients.d_state_out).add(gradients.dq);
  key.add(gradients.dk).add(gradients.dv).add(gradients.d_state_in);
  const SharedPlan plan =
      plan_for(key, [&] { return plan_attention_backward(args, gradients, device.properties()); });
  const Workspace workspace(plan->workspace_bytes, in.q.place);
  const Stream stream = current_stream(in.q.place);
  Status status;
  {
    const Working working(shared);
    status = attention_backward(args, gradients, *plan, workspace.address(), device, stream);
  }
  check_call(status);
  return {dq.object, dk.object, dv.object, d_state_in.object};
}

nb::object step(nb::handle q_, nb::handle k_, nb::handle v_, nb::handle log_decay,
                nb::handle state_, nb::handle scale, nb::handle state_slots, nb::handle draft_k_,
                nb::handle draft_v_, nb::handle accepted_, nb::handle keep_state) {
  const TorchTensor q = read_rows("q", q_), k = read_rows("k", k_), v = read_rows("v", v_);
  const TorchTensor state = read_tensor("state", state_);
  const TorchTensor draft_k = read_rows("draft k", draft_k_),
                    draft_v = read_rows("draft v", draft_v_);
  const TorchTensor accepted = read_contiguous("draft accepted", accepted_);
  const bool several = q.view.rank == 4;
  const int rank = several ? 4 : 3;
  check_rank("q", q, rank, several ? "[N, T, H, K]" : "[N, H, K]");
  check_rank("k", k, rank, several ? "[N, T, H, K]" : "[N, H, K]");
  check_rank("v", v, rank, several ? "[N, T, H, V]" : "[N, H, V]");
  check_place("draft k", draft_k, q);
  check_place("draft v", draft_v, q);
  check_place("draft accepted", accepted, q);
  check_rank("state", state, 4, "[slots, H, K, V]");
  check_place("k", k, q);
  check_place("v", v, q);
  check_place("state", state, q);
  const std::vector<float> decay = read_decay(log_decay);
  const TorchTensor device_slots = slots_of_device(state_slots, q);
  std::vector<std::int64_t> slots;
  if (!device_slots.given()) slots = read_integers("state_slots", state_slots);
  const KeepCurrentGpu keep(q.place);
  SharedDevice& shared = device_at(q.place);
  const Device& device = shared.device;
  const TorchTensor o = new_like(v);
  AttentionStepArgs args;
  args.q = q.view;
  args.k = k.view;
  args.v = v.view;
  args.o = o.view;
  args.log_decay = decay;
  args.scale = read_number("scale", scale);
  args.state = state.view;
  args.state_slots = slots;
  args.device_slots = device_slots.view;
  args.draft = {draft_k.view, draft_v.view, accepted.view};
  args.keep_state = read_flag("keep_state", keep_state);
  const Stream stream = current_stream(q.place);
  Status status;
  {
    const Working working(shared);
    status = attention_step(args, device, {}, stream);
  }
  check_call(status);
  return o.object;
}

double bare_forward(const Settings& settings, nb::handle q, nb::handle k, nb::handle v, int calls) {
  const Inputs in(settings, q, k, v, nb::none());
  const KeepCurrentGpu keep(in.q.place);
  SharedDevice& shared = device_at(in.q.place);
  const TorchTensor o = new_like(in.v);
  AttentionArgs args = in.arguments(settings);
  args.o = view_of(o, settings);
  const AttentionPlan plan = take(plan_attention(args, shared.device.properties()));
  const Workspace workspace(plan.workspace_bytes, in.q.place);
  const Stream stream = current_stream(in.q.place);
  return seconds_of(shared, calls, [&] {
    return attention_forward(args, plan, workspace.address(), shared.device, stream);
  });
}

double bare_backward(const Settings& settings, nb::handle d_o, nb::handle q, nb::handle k,
                     nb::handle v, int calls) {
  const Inputs in(settings, q, k, v, nb::none());
  const KeepCurrentGpu keep(in.q.place);
  SharedDevice& shared = device_at(in.q.place);
  const TorchTensor d_out = read_rows("d_o", d_o);
  const TorchTensor dq = new_like(in.q), dk = new_like(in.k), dv = new_like(in.v);
  const AttentionArgs args = in.arguments(settings);
  AttentionGradients gradients;
  gradients.d_o = view_of(d_out, settings);
  gradients.dq = view_of(dq, settings);
  gradients.dk = view_of(dk, settings);
  gradients.dv = view_of(dv, settings);
  const AttentionPlan plan =
      take(plan_attention_backward(args, gradients, shared.device.properties()));
  const Workspace workspace(plan.workspace_bytes, in.q.place);
  const Stream stream = current_stream(in.q.place);
  return seconds_of(shared, calls, [&] {
    return attention_backward(args, gradients, plan, workspace.address(), shared.device, stream);
  });
}

}  // namespace tnl::python
