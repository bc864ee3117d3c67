#include "attention/lower.h"

#include <utility>

namespace tnl::attention {

static_assert(kAttentionStepTokens == kMostStepTokens);

namespace {

AttentionOperand operand(const TensorView& view) {
  if (view.rank == 3) return {view.data, 0, view.stride[0], view.stride[1]};
  return {view.data, view.stride[0], view.stride[1], view.stride[2]};
}

AttentionStateOperand state(const TensorView& view) {
  if (!view.given()) return {};
  const std::int64_t value_dim = view.shape[3];
  const std::int64_t matrix = view.shape[2] * value_dim;
  return {view.data, view.shape[1] * matrix, matrix, value_dim, 1};
}

AttentionStateOperand transposed(AttentionStateOperand state) {
  std::swap(state.stride_k, state.stride_v);
  return state;
}

// Everything but the operands and the states.
AttentionProblem common(const AttentionArgs& args) {
  const bool packed = !args.cu_seqlens.empty();
  const int rank = args.q.rank;
  AttentionProblem problem;
  problem.dtype = args.q.dtype;
  problem.sequences =
      packed ? static_cast<std::int64_t>(args.cu_seqlens.size()) - 1 : args.q.shape[0];
  problem.heads = args.q.shape[rank - 2];
  problem.key_dim = args.q.shape[rank - 1];
  problem.value_dim = args.v.shape[rank - 1];
  problem.tokens = packed ? 0 : args.q.shape[1];
  problem.cu_seqlens = args.cu_seqlens;
  problem.log_decay = args.log_decay.data();
  problem.reverse = args.direction == Direction::kReverse;
  return problem;
}

}  // namespace

AttentionProblem lower_forward(const AttentionArgs& args) {
  AttentionProblem problem = common(args);
  problem.q = operand(args.q);
  problem.k = operand(args.k);
  problem.v = operand(args.v);
  problem.o = operand(args.o);
  problem.out_scale = args.scale;
  problem.state_in = state(args.state_in);
  problem.state_out = state(args.state_out);
  return problem;
}

std::array<AttentionProblem, 3> lower_backward(const AttentionArgs& args,
                                               const AttentionGradients& gradients) {
  AttentionProblem dq = common(args);
  std::swap(dq.key_dim, dq.value_dim);
  dq.q = operand(gradients.d_o);
  dq.k = operand(args.v);
  dq.v = operand(args.k);
  dq.o = operand(gradients.dq);
  dq.out_scale = args.scale;
  dq.state_in = transposed(state(args.state_in));

  AttentionProblem dv = common(args);
  dv.reverse = !dv.reverse;
  dv.state_enters_undecayed = true;
  dv.value_scale = args.scale;
  dv.q = operand(args.k);
  dv.k = operand(args.q);
  dv.v = operand(gradients.d_o);
  dv.o = operand(gradients.dv);
  dv.state_in = state(gradients.d_state_out);

  AttentionProblem dk = dv;
  std::swap(dk.key_dim, dk.value_dim);
  dk.q = operand(args.v);
  dk.k = operand(gradients.d_o);
  dk.v = operand(args.q);
  dk.o = operand(gradients.dk);
  dk.state_in = transposed(dv.state_in);

  dv.state_out = state(gradients.d_state_in);
  dv.decay_state_out = true;
  return {dq, dk, dv};
}

AttentionProblem lower_step(const AttentionStepArgs& args) {
  const int rank = args.q.rank;
  const auto row = [](const TensorView& view) {
    if (view.rank == 4) return operand(view);
    return AttentionOperand{view.data, view.stride[0], 0, view.stride[1]};
  };
  AttentionProblem problem;
  problem.dtype = args.q.dtype;
  problem.sequences = args.q.shape[0];
  problem.heads = args.q.shape[rank - 2];
  problem.key_dim = args.q.shape[rank - 1];
  problem.value_dim = args.v.shape[rank - 1];
  problem.tokens = rank == 4 ? args.q.shape[1] : 1;
  problem.log_decay = args.log_decay.data();
  problem.out_scale = args.scale;
  problem.q = row(args.q);
  problem.k = row(args.k);
  problem.v = row(args.v);
  problem.o = row(args.o);
  problem.state_in = problem.state_out = state(args.state);
  return problem;
}

AttentionStep lower_step_options(const AttentionStepArgs& args) {
  AttentionStep step;
  step.slots = args.state_slots;
  step.device_slots = static_cast<const std::int32_t*>(args.device_slots.data);
  step.keep_state = args.keep_state;
  if (args.draft.k.given()) {
    step.replay = {operand(args.draft.k), operand(args.draft.v),
                   static_cast<int>(args.draft.k.shape[1]),
                   static_cast<const std::int32_t*>(args.draft.accepted.data)};
  }
  return step;
}

}  // namespace tnl::attention
