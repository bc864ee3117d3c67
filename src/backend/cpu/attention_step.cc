#include <fmt/format.h>

#include "backend/cpu/attention.h"
#include "backend/cpu/simd/attention.h"
#include "backend/decay.h"
#include "core/check.h"

namespace tnl::cpu {
namespace {

// All of a step, a sequence and head at a time.
struct StepJob {
  const AttentionProblem& problem;
  const AttentionStep& step;
  const AttentionKernels& kernels;

  AttentionRows rows(const AttentionOperand& operand, std::int64_t n, std::int64_t h) const {
    const std::int64_t first = n * operand.stride_batch + h * operand.stride_head;
    return {static_cast<char*>(operand.data) + first * dtype_size(problem.dtype),
            operand.stride_token};
  }

  void run(std::int64_t index) const {
    const std::int64_t h = index % problem.heads;
    const std::int64_t n = index / problem.heads;
    const std::int64_t slot = step.slot(n);
    if (slot < 0) return;
    const AttentionStateOperand& state = problem.state_in;
    AttentionStepTask task{
        .dtype = problem.dtype,
        .key_dim = problem.key_dim,
        .value_dim = problem.value_dim,
        .state =
            static_cast<float*>(state.data) + slot * state.stride_sequence + h * state.stride_head,
        .stride_k = state.stride_k,
        .decay = static_cast<float>(decay_power(log2_decay(problem.log_decay[h]), 1)),
        .out_scale = static_cast<float>(problem.out_scale),
        .value_scale = static_cast<float>(problem.value_scale)};
    if (task.tokens = step.replayed(n); task.tokens > 0) {
      task.k = rows(step.replay.k, n, h);
      task.v = rows(step.replay.v, n, h);
      kernels.step(task);
    }
    if (problem.tokens == 0) return;
    task.tokens = static_cast<int>(problem.tokens);
    task.keep_state = step.keep_state;
    task.q = rows(problem.q, n, h);
    task.k = rows(problem.k, n, h);
    task.v = rows(problem.v, n, h);
    task.o = rows(problem.o, n, h);
    kernels.step(task);
  }
};

}  // namespace

Status attention_step(const AttentionProblem& problem, const AttentionStep& step, ThreadPool& pool,
                      const std::string& kernel) {
  const AttentionKernels* kernels = find_attention_kernels(kernel);
  if (kernels == nullptr) {
    return internal_error(
        fmt::format("attention kernel: found '{}', which this build lacks", kernel));
  }
  TNL_CHECK(problem.state_in.stride_v == 1 && problem.dtype != DType::kF64 &&
            problem.tokens <= kMostStepTokens && step.replay.tokens <= kMostStepTokens);
  const StepJob job{problem, step, *kernels};
  pool.split(problem.sequences * problem.heads, 1,
             [&job](std::int64_t begin, std::int64_t end, int) {
               for (std::int64_t index = begin; index < end; ++index) job.run(index);
             });
  return {};
}

}  // namespace tnl::cpu
