// How a decode step is run on a GPU and cut into blocks. Plain host data.
#pragma once

#include <cstdint>

#include "backend/attention_problem.h"
#include "backend/attention_step.h"
#include "tnl/status.h"

namespace tnl::cuda {

// Columns of V of a block of the step kernel.
inline constexpr int kMostStepColumns = 128, kFewestStepColumns = 16;

// How a step is run.
struct StepTuning {
  bool general = false;          // token by token, by the kernel for everything
  const float* decay = nullptr;  // device, [heads], λ, read when the kernel runs; or log_decay
  int columns = 0;  // of V a block: 16, 32, 64, 128; 0: chosen by the size of the batch
};

// ok, or a sentence that names what is wrong.
Status check_step(const AttentionProblem& problem, const AttentionStep& step,
                  const StepTuning& tuning);

// As wide as possible, but enough blocks to fill a device.
int choose_step_columns(const AttentionProblem& problem);

}  // namespace tnl::cuda
