// What a backend's attention kernel gets: checked arguments, lowered to pointers and strides.
#pragma once

#include <cstdint>
#include <span>

#include "tnl/tensor.h"

namespace tnl {

// One of q, k, v, o. Element (sequence n, its token t, head h, column c) lies at
// n * stride_batch + (begin(n) + t) * stride_token + h * stride_head + c elements from data.
struct AttentionOperand {
  void* data = nullptr;
  std::int64_t stride_batch = 0;  // 0 if packed
  std::int64_t stride_token = 0;
  std::int64_t stride_head = 0;
};

// Element (sequence n, head h, row k, column v) lies at
// n * stride_sequence + h * stride_head + k * stride_k + v * stride_v. A transposed state is the
// same memory with the last two exchanged.
struct AttentionStateOperand {
  void* data = nullptr;  // nullptr: zeros in, or nothing out
  std::int64_t stride_sequence = 0;
  std::int64_t stride_head = 0;
  std::int64_t stride_k = 0;
  std::int64_t stride_v = 0;
};

// For every sequence n and head h, over its tokens in time order (mirrored if reverse):
//   S <- λ S + k_t (value_scale · v_t)ᵀ,   o_t = out_scale · Sᵀ q_t
// The backward pass is this primitive three times (docs/math.md). There the incoming state must
// enter undecayed at its own first step: S <- S_in + k v at the first token, then as above.
struct AttentionProblem {
  DType dtype = DType::kF32;  // of q, k, v, o; states are f32, or f64 where dtype is f64
  std::int64_t sequences = 0;
  std::int64_t heads = 0;
  std::int64_t key_dim = 0;
  std::int64_t value_dim = 0;
  std::int64_t tokens = 0;                   // per sequence, where cu_seqlens is empty
  std::span<const std::int64_t> cu_seqlens;  // [sequences + 1], or empty
  AttentionOperand q, k, v, o;
  const float* log_decay = nullptr;  // [heads]
  double out_scale = 1.0;
  double value_scale = 1.0;
  bool decay_state_out = false;  // the outgoing state times λ once more: dS_in of the backward pass
  bool reverse = false;
  bool state_enters_undecayed = false;
  // Of a step: as the option of a plan. On the CPU nothing else exists.
  bool batch_invariant = false;
  AttentionStateOperand state_in, state_out;

  std::int64_t begin(std::int64_t n) const { return cu_seqlens.empty() ? 0 : cu_seqlens[n]; }
  std::int64_t length(std::int64_t n) const {
    return cu_seqlens.empty() ? tokens : cu_seqlens[n + 1] - cu_seqlens[n];
  }
};

}  // namespace tnl
