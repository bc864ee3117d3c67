// What a decode step may be told beside its problem, and how it is cut into blocks. Plain host
// data.
#pragma once

#include <cstdint>

#include "backend/attention_problem.h"
#include "tnl/status.h"

namespace tnl::cuda {

// Tokens a sequence of one step.
inline constexpr int kStepTokens = 8;

// Columns of V of a block of the step kernel.
inline constexpr int kMostStepColumns = 128, kFewestStepColumns = 16;

// Tokens of an earlier step that left outputs only: the accepted ones enter the state now.
struct StepReplay {
  AttentionOperand k, v;                   // [sequences, tokens, heads, columns], as the problem's
  int tokens = 0;                          // how many there are, at most kStepTokens
  const std::int32_t* accepted = nullptr;  // device, [sequences]: how many of them enter
};

struct StepOptions {
  // Device memory, read when the kernel runs, so that a graph can be replayed with other values.
  const std::int32_t* slots = nullptr;  // [sequences]; nullptr: the host's. Negative: skipped
  const float* decay = nullptr;         // [heads], λ; nullptr: from log_decay
  StepReplay replay = {};               // before the tokens of the call
  bool keep_state = true;               // false: these leave outputs, the state is as before them
  // The kernel may begin to read states while the one before it runs, which writes none.
  bool dependent = false;
  int columns = 0;  // of V a block: 16, 32, 64, 128; 0: chosen by the size of the batch
};

// ok, or a sentence that names what is wrong.
Status check_step(const AttentionProblem& problem, const StepOptions& options);

// As wide as possible, but enough blocks to fill a device.
int choose_step_columns(const AttentionProblem& problem);

}  // namespace tnl::cuda
