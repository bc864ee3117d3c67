// Checked arguments lowered to the problems a kernel solves.
#pragma once

#include <array>

#include "backend/attention_problem.h"
#include "backend/attention_step.h"
#include "tnl/attention.h"

namespace tnl::attention {

AttentionProblem lower_forward(const AttentionArgs& args);

// The gradients are the operator itself with its operands exchanged. With G_t the gradient of S_t,
// G_t = λ G_{t+1} + scale q_t do_tᵀ, starting from d_state_out at the last token, undecayed:
//   dq_t = scale S_t do_t, dk_t = G_t v_t, dv_t = G_tᵀ k_t, d_state_in = λ G_0
// In the order dq, dk, dv, so that d_state_in, written last, may be any of the states read.
std::array<AttentionProblem, 3> lower_backward(const AttentionArgs& args,
                                               const AttentionGradients& gradients);

AttentionProblem lower_step(const AttentionStepArgs& args);
AttentionStep lower_step_options(const AttentionStepArgs& args);

}  // namespace tnl::attention
