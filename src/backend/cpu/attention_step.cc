#include <fmt/format.h>

#include "backend/cpu/attention.h"
#include "backend/cpu/simd/attention.h"
#include "backend/decay.h"
#include "core/check.h"

namespace tnl::cpu {

Status attention_step(const AttentionProblem& problem, ThreadPool& pool,
                      std::span<const std::int64_t> slots, const std::string& kernel) {
  const AttentionKernels* kernels = find_attention_kernels(kernel);
  if (kernels == nullptr) {
    return internal_error(
        fmt::format("attention kernel: found '{}', which this build lacks", kernel));
  }
  TNL_CHECK(problem.state_in.stride_v == 1 && problem.dtype != DType::kF64);
  struct StepJob {
    const AttentionProblem& problem;
    std::span<const std::int64_t> slots;
    const AttentionKernels& kernels;

    char* at(const AttentionOperand& operand, std::int64_t n, std::int64_t h) const {
      return static_cast<char*>(operand.data) +
             (n * operand.stride_batch + h * operand.stride_head) * dtype_size(problem.dtype);
    }
    void run(std::int64_t index) const {
      const std::int64_t h = index % problem.heads;
      const std::int64_t n = index / problem.heads;
      const AttentionStateOperand& state = problem.state_in;
      kernels.step({.dtype = problem.dtype,
                    .key_dim = problem.key_dim,
                    .value_dim = problem.value_dim,
                    .q = at(problem.q, n, h),
                    .k = at(problem.k, n, h),
                    .v = at(problem.v, n, h),
                    .o = at(problem.o, n, h),
                    .state = static_cast<float*>(state.data) +
                             (slots.empty() ? n : slots[n]) * state.stride_sequence +
                             h * state.stride_head,
                    .stride_k = state.stride_k,
                    .decay = static_cast<float>(decay_power(log2_decay(problem.log_decay[h]), 1)),
                    .out_scale = static_cast<float>(problem.out_scale),
                    .value_scale = static_cast<float>(problem.value_scale)});
    }
  };
  const StepJob job{problem, slots, *kernels};
  pool.split(problem.sequences * problem.heads, 1,
             [&job](std::int64_t begin, std::int64_t end, int) {
               for (std::int64_t index = begin; index < end; ++index) job.run(index);
             });
  return {};
}

}  // namespace tnl::cpu
