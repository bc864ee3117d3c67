// Lightning attention: for every head, with λ = exp(log_decay[h]),
//   S_t = λ S_{t-1} + k_t v_tᵀ,   o_t = scale · S_tᵀ q_t,   t = 0 .. T-1, S_{-1} = state_in
// (arXiv 2405.17381, eq. 5-8; docs/math.md). Time and memory are linear in T.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "tnl/attention_plan.h"
#include "tnl/device.h"
#include "tnl/status.h"
#include "tnl/tensor.h"

namespace tnl {

// kReverse is the exact mirror in time: S_t = λ S_{t+1} + k_t v_tᵀ, state_in enters behind the last
// token and state_out leaves in front of the first.
enum class Direction { kForward, kReverse };

// Storage of q, k, v, o: f32, bf16 or f16 (fp32 arithmetic), or f64 throughout (the reference, on
// the CPU only). On a GPU tensors and workspace are device memory (DeviceBuffer, or any other of
// that GPU), log_decay, cu_seqlens and state_slots stay on the host. All four share one dtype. The
// last axis is contiguous, the others may be strided, so slices of a fused projection need no copy.
// T, K, V, H are arbitrary; T = 0 is legal.
struct AttentionArgs {
  TensorView q;  // [B, T, H, K], or packed [total, H, K] with cu_seqlens
  TensorView k;  // as q
  TensorView v;  // [B, T, H, V], or packed [total, H, V]
  TensorView o;  // as v; written

  std::span<const float> log_decay;  // [H], natural log, <= 0; -inf: λ = 0; fp32(-m ln 2): 2^-m
  double scale = 1.0;                // finite; TransNormerLLM uses 1
  Direction direction = Direction::kForward;
  std::span<const std::int64_t> cu_seqlens;  // packed only: [N + 1], from 0 to total, rising

  // [N, H, K, V] row-major, f32 (f64 with f64 storage); N = B, or the number of packed sequences.
  // Not given: zeros in, nothing out. Both may be the same memory.
  TensorView state_in;
  TensorView state_out;
};

// Gradients of a scalar loss. dq, dk, dv have the shapes and dtype of q, k, v, the state gradients
// those of the states. d_state_out not given means zero; d_state_in not given is not computed.
struct AttentionGradients {
  TensorView d_o;
  TensorView d_state_out;
  TensorView dq, dk, dv;
  TensorView d_state_in;
};

// Tokens a sequence of one step.
inline constexpr std::int64_t kAttentionStepTokens = 8;

// The tokens of an earlier step with keep_state = false, now that it is known which of them stand.
struct AttentionDraft {
  TensorView k;         // [N, R, H, K], R up to kAttentionStepTokens
  TensorView v;         // [N, R, H, V]
  TensorView accepted;  // i32 [N], 0 to R: so many of the first tokens enter the state
};

// Decoding: the next tokens of N sequences, a few for each, the states updated in place in a pool
// of them. Each state is read and written once, whatever the number of tokens, and the bits are
// those of as many steps of one token.
//
// A draft of several tokens (speculative decoding) is read with keep_state = false: outputs for all
// of them, no state touched. The next step, given the draft and how many of its tokens were
// accepted, first lets these into the state, which is written, then reads its own tokens from
// there; again with keep_state = false if they are the next draft.
//
// On a GPU a step can be recorded in a CUDA graph. device_slots and draft.accepted are read when it
// runs, so that a replay may serve other sequences and another number of tokens.
struct AttentionStepArgs {
  TensorView q, k;                   // [N, H, K], or [N, T, H, K], T from 0 to kAttentionStepTokens
  TensorView v, o;                   // [N, H, V], or [N, T, H, V]; o is written
  std::span<const float> log_decay;  // [H]
  double scale = 1.0;
  TensorView state;                           // [slots, H, K, V], contiguous
  std::span<const std::int64_t> state_slots;  // [N], distinct; empty: sequence n uses slot n
  // i32 [N], distinct, in place of state_slots: memory of the device like the tensors. A negative
  // slot skips its sequence, whose part of o is left as it is: the padding of a batch of one size.
  // Values past the pool are refused on the CPU; on a GPU nobody looks at them.
  TensorView device_slots;
  AttentionDraft draft;    // enters the states first; not given: none
  bool keep_state = true;  // false: the tokens of q, k, v leave outputs only
};

// Checks every argument; the sentence of an error names it, what it was and what it may be.
Result<AttentionPlan> plan_attention(const AttentionArgs& args, const DeviceProperties& device,
                                     const AttentionPlanOptions& options = {});
Result<AttentionPlan> plan_attention_backward(const AttentionArgs& args,
                                              const AttentionGradients& gradients,
                                              const DeviceProperties& device,
                                              const AttentionPlanOptions& options = {});

// `workspace` holds plan.workspace_bytes bytes, aligned to 64 (256 on a GPU). Nothing is allocated.
// On a GPU these calls queue the work on `stream` and return; what goes wrong while it runs is
// reported by Device::synchronize(). On the CPU they return when the work is done.
Status attention_forward(const AttentionArgs& args, const AttentionPlan& plan, void* workspace,
                         const Device& device, Stream stream = {});
// Reads args.q, k, v, state_in; args.o and args.state_out are not looked at.
Status attention_backward(const AttentionArgs& args, const AttentionGradients& gradients,
                          const AttentionPlan& plan, void* workspace, const Device& device,
                          Stream stream = {});
// kernel: as in AttentionPlanOptions, empty for the best; on a GPU "step" or "general".
Status attention_step(const AttentionStepArgs& args, const Device& device,
                      const std::string& kernel = {}, Stream stream = {});

}  // namespace tnl
