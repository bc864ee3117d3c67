#include "attention/checks.h"

#include <array>
#include <bitset>
#include <cmath>

#include <fmt/format.h>

#include "core/try.h"

namespace tnl::attention {
namespace {

// Beyond this the sizes of a state no longer fit comfortably into 64 bits.
constexpr std::int64_t kMostHeadDim = std::int64_t{1} << 20;

std::string shape_text(int rank, const std::array<std::int64_t, 4>& shape) {
  TensorView view;
  view.rank = rank;
  view.shape = shape;
  const std::string text = view.describe();
  return text.substr(text.find('['));
}

// A view that is there, has memory where it has elements, and a last axis without gaps.
Status check_view(const char* name, const TensorView& view) {
  if (!view.given()) return invalid_argument(fmt::format("{}: not given", name));
  if (view.rank < 0 || view.rank > TensorView::kMaxRank) {
    return invalid_argument(fmt::format("{}: found rank {}, expected 3 or 4", name, view.rank));
  }
  for (int axis = 0; axis < view.rank; ++axis) {
    if (view.shape[axis] < 0) {
      return invalid_argument(
          fmt::format("{}: found {}, expected no negative size", name, view.describe()));
    }
  }
  if (view.data == nullptr && view.elements() > 0) {
    return invalid_argument(fmt::format("{}: found no memory behind {}", name, view.describe()));
  }
  const int last = view.rank - 1;
  if (view.shape[last] > 1 && view.stride[last] != 1) {
    return invalid_argument(fmt::format("{}: found stride {} along the last axis, expected 1", name,
                                        view.stride[last]));
  }
  return {};
}

Status check_like(const char* name, const TensorView& view, DType dtype, int rank,
                  const std::array<std::int64_t, 4>& shape) {
  TNL_TRY(check_view(name, view));
  bool same = view.dtype == dtype && view.rank == rank;
  for (int axis = 0; same && axis < rank; ++axis) same = view.shape[axis] == shape[axis];
  if (same) return {};
  return invalid_argument(fmt::format("{}: found {}, expected {}{}", name, view.describe(),
                                      dtype_name(dtype), shape_text(rank, shape)));
}

Status check_state(const char* name, const TensorView& view, DType dtype,
                   const std::array<std::int64_t, 4>& shape) {
  TNL_TRY(check_like(name, view, dtype, 4, shape));
  if (view.elements() == 0) return {};
  std::int64_t expected = 1;
  for (int axis = 3; axis >= 0; --axis) {
    if (view.shape[axis] > 1 && view.stride[axis] != expected) {
      return invalid_argument(
          fmt::format("{}: found stride {} along axis {}, expected {} (states are row-major)", name,
                      view.stride[axis], axis, expected));
    }
    expected *= view.shape[axis];
  }
  return {};
}

Status check_decay(std::span<const float> log_decay, std::int64_t heads, double scale) {
  if (static_cast<std::int64_t>(log_decay.size()) != heads) {
    return invalid_argument(fmt::format(
        "log_decay: found {} values, expected one for each of {} heads", log_decay.size(), heads));
  }
  for (std::int64_t h = 0; h < heads; ++h) {
    if (!(log_decay[h] <= 0)) {
      return invalid_argument(
          fmt::format("log_decay: found {} for head {}, expected at most 0", log_decay[h], h));
    }
  }
  if (!std::isfinite(static_cast<float>(scale))) {  // kernels hold it in fp32
    return invalid_argument(fmt::format("scale: found {}, expected a finite number", scale));
  }
  return {};
}

Status check_storage(const TensorView& q) {
  if (q.dtype == DType::kF32 || q.dtype == DType::kBF16 || q.dtype == DType::kF16 ||
      q.dtype == DType::kF64) {
    return {};
  }
  return invalid_argument(
      fmt::format("q: found {}, expected f32, bf16, f16 or f64", dtype_name(q.dtype)));
}

Status check_head_dims(std::int64_t key_dim, std::int64_t value_dim) {
  if (key_dim < 1 || key_dim > kMostHeadDim) {
    return invalid_argument(
        fmt::format("q: found K = {}, expected 1 to {}", key_dim, kMostHeadDim));
  }
  if (value_dim < 1 || value_dim > kMostHeadDim) {
    return invalid_argument(
        fmt::format("v: found V = {}, expected 1 to {}", value_dim, kMostHeadDim));
  }
  return {};
}

Status check_cu_seqlens(std::span<const std::int64_t> cu_seqlens, std::int64_t total) {
  if (cu_seqlens.front() != 0) {
    return invalid_argument(
        fmt::format("cu_seqlens: found {} as the first offset, expected 0", cu_seqlens.front()));
  }
  for (std::size_t n = 1; n < cu_seqlens.size(); ++n) {
    if (cu_seqlens[n] < cu_seqlens[n - 1]) {
      return invalid_argument(fmt::format("cu_seqlens: found {} after {}, expected rising offsets",
                                          cu_seqlens[n], cu_seqlens[n - 1]));
    }
  }
  if (cu_seqlens.back() != total) {
    return invalid_argument(
        fmt::format("cu_seqlens: found {} as the last offset, expected {}, the "
                    "tokens of q",
                    cu_seqlens.back(), total));
  }
  return {};
}

struct Shapes {
  std::array<std::int64_t, 4> key{};
  std::array<std::int64_t, 4> value{};
  std::array<std::int64_t, 4> state{};
  DType state_dtype = DType::kF32;
};

// q, k, v and everything that is not a tensor.
Result<Shapes> check_inputs(const AttentionArgs& args) {
  TNL_TRY(check_view("q", args.q));
  TNL_TRY(check_storage(args.q));
  const bool packed = !args.cu_seqlens.empty();
  const int rank = args.q.rank;
  if (rank != (packed ? 3 : 4)) {
    return invalid_argument(fmt::format("q: found {}, expected {}", args.q.describe(),
                                        packed
                                            ? "rank 3, [total, H, K], because cu_seqlens is given"
                                            : "rank 4, [B, T, H, K] (rank 3 needs cu_seqlens)"));
  }
  TNL_TRY(check_like("k", args.k, args.q.dtype, rank, args.q.shape));
  TNL_TRY(check_view("v", args.v));
  Shapes shapes;
  shapes.key = args.q.shape;
  shapes.value = args.q.shape;
  shapes.value[rank - 1] = args.v.rank == rank ? args.v.shape[rank - 1] : 1;
  TNL_TRY(check_like("v", args.v, args.q.dtype, rank, shapes.value));
  const std::int64_t heads = args.q.shape[rank - 2];
  TNL_TRY(check_head_dims(args.q.shape[rank - 1], shapes.value[rank - 1]));
  TNL_TRY(check_decay(args.log_decay, heads, args.scale));
  if (packed) TNL_TRY(check_cu_seqlens(args.cu_seqlens, args.q.shape[0]));
  const std::int64_t sequences =
      packed ? static_cast<std::int64_t>(args.cu_seqlens.size()) - 1 : args.q.shape[0];
  shapes.state = {sequences, heads, args.q.shape[rank - 1], shapes.value[rank - 1]};
  shapes.state_dtype = args.q.dtype == DType::kF64 ? DType::kF64 : DType::kF32;
  if (args.state_in.given()) {
    TNL_TRY(check_state("state_in", args.state_in, shapes.state_dtype, shapes.state));
  }
  return shapes;
}

// No allocation: a window of the slots at a time is marked in a fixed bitmap. Negative ones, where
// they are allowed, stand for no state.
template <class T>
Status check_slots(const char* name, std::span<const T> slots, std::int64_t count,
                   bool may_be_negative) {
  for (const T slot : slots) {
    if (slot < count && (slot >= 0 || may_be_negative)) continue;
    return invalid_argument(fmt::format("{}: found {}, expected {}{}", name, slot,
                                        may_be_negative ? "at most " : "0 to ", count - 1));
  }
  constexpr std::int64_t kWindow = 1 << 15;
  for (std::int64_t first = 0; first < count; first += kWindow) {
    std::bitset<kWindow> seen;
    for (const T slot : slots) {
      if (slot < first || slot >= first + kWindow) continue;
      if (seen.test(slot - first)) {
        return invalid_argument(
            fmt::format("{}: found {} twice, expected distinct slots", name, slot));
      }
      seen.set(slot - first);
    }
  }
  return {};
}

Status check_step_tokens(const char* name, std::int64_t tokens) {
  if (tokens <= kAttentionStepTokens) return {};
  return invalid_argument(fmt::format("{}: found {} tokens a sequence, expected 0 to {}", name,
                                      tokens, kAttentionStepTokens));
}

// The tokens of a draft beside q [N, .., H, K] and V columns.
Status check_draft(const AttentionDraft& draft, const TensorView& q, std::int64_t value_dim) {
  if (!draft.k.given() && !draft.v.given() && !draft.accepted.given()) return {};
  TNL_TRY(check_view("draft.k", draft.k));
  std::array<std::int64_t, 4> shape{q.shape[0], 0, q.shape[q.rank - 2], q.shape[q.rank - 1]};
  if (draft.k.rank == 4) shape[1] = draft.k.shape[1];
  TNL_TRY(check_like("draft.k", draft.k, q.dtype, 4, shape));
  TNL_TRY(check_step_tokens("draft.k", shape[1]));
  shape[3] = value_dim;
  TNL_TRY(check_like("draft.v", draft.v, q.dtype, 4, shape));
  return check_like("draft.accepted", draft.accepted, DType::kI32, 1, {q.shape[0]});
}

}  // namespace

Status check_arguments(const AttentionArgs& args) {
  TNL_ASSIGN(const Shapes shapes, check_inputs(args));
  TNL_TRY(check_like("o", args.o, args.q.dtype, args.q.rank, shapes.value));
  if (args.state_out.given()) {
    TNL_TRY(check_state("state_out", args.state_out, shapes.state_dtype, shapes.state));
  }
  return {};
}

Status check_backward_arguments(const AttentionArgs& args, const AttentionGradients& gradients) {
  TNL_ASSIGN(const Shapes shapes, check_inputs(args));
  const DType dtype = args.q.dtype;
  const int rank = args.q.rank;
  TNL_TRY(check_like("d_o", gradients.d_o, dtype, rank, shapes.value));
  TNL_TRY(check_like("dq", gradients.dq, dtype, rank, shapes.key));
  TNL_TRY(check_like("dk", gradients.dk, dtype, rank, shapes.key));
  TNL_TRY(check_like("dv", gradients.dv, dtype, rank, shapes.value));
  if (gradients.d_state_out.given()) {
    TNL_TRY(check_state("d_state_out", gradients.d_state_out, shapes.state_dtype, shapes.state));
  }
  if (gradients.d_state_in.given()) {
    TNL_TRY(check_state("d_state_in", gradients.d_state_in, shapes.state_dtype, shapes.state));
  }
  return {};
}

Status check_step(const AttentionStepArgs& args) {
  TNL_TRY(check_view("q", args.q));
  TNL_TRY(check_storage(args.q));
  const int rank = args.q.rank;
  if (rank != 3 && rank != 4) {
    return invalid_argument(fmt::format(
        "q: found {}, expected rank 3, [N, H, K], or 4, [N, T, H, K]", args.q.describe()));
  }
  if (rank == 4) TNL_TRY(check_step_tokens("q", args.q.shape[1]));
  TNL_TRY(check_like("k", args.k, args.q.dtype, rank, args.q.shape));
  TNL_TRY(check_view("v", args.v));
  std::array<std::int64_t, 4> value = args.q.shape;
  value[rank - 1] = args.v.rank == rank ? args.v.shape[rank - 1] : 1;
  TNL_TRY(check_like("v", args.v, args.q.dtype, rank, value));
  TNL_TRY(check_like("o", args.o, args.q.dtype, rank, value));
  const std::int64_t sequences = args.q.shape[0], heads = args.q.shape[rank - 2];
  const std::int64_t key_dim = args.q.shape[rank - 1], value_dim = value[rank - 1];
  TNL_TRY(check_head_dims(key_dim, value_dim));
  TNL_TRY(check_decay(args.log_decay, heads, args.scale));
  TNL_TRY(check_draft(args.draft, args.q, value_dim));
  TNL_TRY(check_view("state", args.state));
  const std::int64_t slots = args.state.shape[0];
  const DType state_dtype = args.q.dtype == DType::kF64 ? DType::kF64 : DType::kF32;
  TNL_TRY(check_state("state", args.state, state_dtype, {slots, heads, key_dim, value_dim}));
  if (args.device_slots.given()) {
    if (!args.state_slots.empty()) {
      return invalid_argument("device_slots: found beside state_slots, expected one of the two");
    }
    return check_like("device_slots", args.device_slots, DType::kI32, 1, {sequences});
  }
  if (args.state_slots.empty()) {
    if (slots >= sequences) return {};
    return invalid_argument(fmt::format(
        "state: found {} slots, expected at least one for each of {} sequences", slots, sequences));
  }
  if (static_cast<std::int64_t>(args.state_slots.size()) != sequences) {
    return invalid_argument(
        fmt::format("state_slots: found {} values, expected one for each of {} sequences",
                    args.state_slots.size(), sequences));
  }
  return check_slots("state_slots", args.state_slots, slots, false);
}

Status check_step_values(const AttentionStepArgs& args) {
  const auto values = [&](const TensorView& view) {
    return std::span(static_cast<const std::int32_t*>(view.data),
                     static_cast<std::size_t>(args.q.shape[0]));
  };
  if (args.device_slots.given()) {
    TNL_TRY(check_slots("device_slots", values(args.device_slots), args.state.shape[0], true));
  }
  if (!args.draft.k.given()) return {};
  for (const std::int32_t accepted : values(args.draft.accepted)) {
    if (accepted >= 0 && accepted <= args.draft.k.shape[1]) continue;
    return invalid_argument(
        fmt::format("draft.accepted: found {}, expected 0 to {}", accepted, args.draft.k.shape[1]));
  }
  return {};
}

}  // namespace tnl::attention
