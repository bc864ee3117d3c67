#include "backend/cuda/step.h"

#include <fmt/format.h>

namespace tnl::cuda {

Status check_step(const AttentionProblem& problem, const AttentionStep& step,
                  const StepTuning& tuning) {
  if (problem.tokens < 0 || problem.tokens > kMostStepTokens || !problem.cu_seqlens.empty()) {
    return invalid_argument(
        fmt::format("attention step: found {}{} tokens a sequence, expected 0 to {}, not packed",
                    problem.tokens, problem.cu_seqlens.empty() ? "" : " packed", kMostStepTokens));
  }
  if (problem.dtype == DType::kF64) {
    return invalid_argument("attention step on a GPU: found f64, expected f32, bf16 or f16");
  }
  const StepReplay& replay = step.replay;
  if (replay.tokens < 0 || replay.tokens > kMostStepTokens) {
    return invalid_argument(
        fmt::format("attention step: found {} tokens to replay, expected 0 to {}", replay.tokens,
                    kMostStepTokens));
  }
  if (replay.tokens > 0 && replay.accepted == nullptr) {
    return invalid_argument(
        "attention step: tokens to replay, but no array that says how many are accepted");
  }
  bool known = tuning.columns == 0;
  for (int columns = kFewestStepColumns; columns <= kMostStepColumns; columns *= 2) {
    known |= tuning.columns == columns;
  }
  if (!known) {
    return invalid_argument(
        fmt::format("attention step: found {} columns a block, expected 0 (chosen), 16, 32, 64 "
                    "or 128",
                    tuning.columns));
  }
  return {};
}

int choose_step_columns(const AttentionProblem& problem) {
  // Measured on an H100 (docs/kernels/step.md): pieces of 64 bytes cost a fifth of the bandwidth,
  // so they are for batches that memory does not bound.
  constexpr std::int64_t kEnoughBlocks = 1024, kEnoughBlocksOfFewest = 512;
  int columns = kMostStepColumns;
  const auto blocks = [&] {
    return problem.sequences * problem.heads * ((problem.value_dim + columns - 1) / columns);
  };
  while (columns > kFewestStepColumns) {
    const std::int64_t enough =
        columns == 2 * kFewestStepColumns ? kEnoughBlocksOfFewest : kEnoughBlocks;
    if (columns / 2 < problem.value_dim && blocks() >= enough) break;
    columns /= 2;
  }
  return columns;
}

}  // namespace tnl::cuda
