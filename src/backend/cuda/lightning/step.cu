// The decode step on the host: which instance runs a call, its launches, and the general path.
#include "backend/cuda/lightning/step.cuh"

#include <algorithm>
#include <cmath>

#include "backend/cuda/lightning/kernels.h"
#include "core/try.h"

namespace tnl::cuda {

namespace {

constexpr std::int64_t kMaxGrid = 65535;
constexpr std::size_t kMaxSharedBytes = 48 * 1024;

using StepFunction = void (*)(StepParams);

struct Variant {
  StepFunction function = nullptr;
  std::size_t shared_bytes = 0;
};

template <class T, int kTokens, bool kReplay>
Variant variant(std::int64_t key_dim) {
  return {step_kernel<T, kTokens, kReplay>,
          sizeof(float) * step_shared_floats<kTokens, kReplay>(static_cast<std::size_t>(key_dim))};
}

template <class T>
Variant variant_of(const AttentionProblem& p, bool replay) {
  if (replay) return variant<T, kMostStepTokens, true>(p.key_dim);
  if (p.tokens == 1) return variant<T, 1, false>(p.key_dim);
  return p.tokens <= 4 ? variant<T, 4, false>(p.key_dim)
                       : variant<T, kMostStepTokens, false>(p.key_dim);
}

Variant choose_variant(const AttentionProblem& p, bool replay) {
  if (p.dtype == DType::kBF16) return variant_of<__nv_bfloat16>(p, replay);
  if (p.dtype == DType::kF16) return variant_of<__half>(p, replay);
  return variant_of<float>(p, replay);
}

bool steps_fast(const AttentionProblem& p, const Variant& variant) {
  const AttentionStateOperand& s = p.state_out;
  return p.state_in.data == s.data && s.stride_v == 1 && s.stride_k % 4 == 0 &&
         s.stride_head % 4 == 0 && s.stride_sequence % 4 == 0 &&
         reinterpret_cast<std::uintptr_t>(s.data) % 16 == 0 && p.value_dim % 4 == 0 &&
         p.key_dim > 0 && variant.shared_bytes <= kMaxSharedBytes && !p.reverse &&
         !p.state_enters_undecayed && !p.decay_state_out;
}

StepOperand operand(const AttentionOperand& x) {
  return {static_cast<const char*>(x.data), x.stride_batch, x.stride_token, x.stride_head};
}

bool vectors(const AttentionOperand& x, DType dtype) {
  const std::uintptr_t bytes = dtype == DType::kF32 ? 16 : 8;
  return reinterpret_cast<std::uintptr_t>(x.data) % bytes == 0 && x.stride_batch % 4 == 0 &&
         x.stride_token % 4 == 0 && x.stride_head % 4 == 0;
}

Status launch_step(const StepParams& params, dim3 grid, const Variant& variant, bool dependent,
                   cudaStream_t stream) {
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = dim3(kStepThreads);
  config.dynamicSmemBytes = variant.shared_bytes;
  config.stream = stream;
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  config.attrs = &attribute;
  config.numAttrs = dependent ? 1 : 0;
  return cuda_status(cudaLaunchKernelEx(&config, variant.function, params),
                     "launching the attention step");
}

Status launch_steps(const AttentionProblem& problem, const AttentionStep& step,
                    const StepTuning& tuning, const Variant& variant, cudaStream_t stream) {
  StepParams params{};
  params.q = operand(problem.q);
  params.k = operand(problem.k);
  params.v = operand(problem.v);
  params.o = operand(problem.o);
  params.replay_k = operand(step.replay.k);
  params.replay_v = operand(step.replay.v);
  params.state = static_cast<float*>(problem.state_out.data);
  params.stride_sequence = problem.state_out.stride_sequence;
  params.stride_head = problem.state_out.stride_head;
  params.stride_k = problem.state_out.stride_k;
  params.slots = step.device_slots;
  params.accepted = step.replay.accepted;
  params.decay = tuning.decay;
  params.key_dim = static_cast<std::int32_t>(problem.key_dim);
  params.value_dim = static_cast<std::int32_t>(problem.value_dim);
  params.tokens = static_cast<std::int32_t>(problem.tokens);
  params.replay_tokens = step.replay.tokens;
  params.out_scale = static_cast<float>(problem.out_scale);
  params.value_scale = static_cast<float>(problem.value_scale);
  params.keep_state = step.keep_state;
  params.vector_values = vectors(problem.v, problem.dtype) &&
                         (step.replay.tokens == 0 || vectors(step.replay.v, problem.dtype));
  params.slots_inline = step.device_slots == nullptr && !step.slots.empty();
  const int columns = tuning.columns > 0 ? tuning.columns : choose_step_columns(problem);
  params.lanes = columns / 4;
  while ((1 << params.lane_bits) < params.lanes) ++params.lane_bits;
  const auto blocks = static_cast<unsigned>((problem.value_dim + columns - 1) / columns);
  const std::int64_t most_sequences = params.slots_inline ? kMaxStepSlots : kMaxGrid;
  const std::int64_t most_heads = tuning.decay == nullptr ? kMaxStepDecays : kMaxGrid;
  for (std::int64_t n = 0; n < problem.sequences; n += most_sequences) {
    const std::int64_t sequences = std::min(most_sequences, problem.sequences - n);
    params.first_sequence = n;
    for (std::int64_t i = 0; params.slots_inline && i < sequences; ++i) {
      params.slot[i] = static_cast<std::int32_t>(step.slots[n + i]);
    }
    for (std::int64_t h = 0; h < problem.heads; h += most_heads) {
      const std::int64_t heads = std::min(most_heads, problem.heads - h);
      params.first_head = static_cast<std::int32_t>(h);
      for (std::int64_t i = 0; tuning.decay == nullptr && i < heads; ++i) {
        params.decays[i] = static_cast<float>(std::exp2(log2_decay(problem.log_decay[h + i])));
      }
      const dim3 grid(blocks, static_cast<unsigned>(heads), static_cast<unsigned>(sequences));
      TNL_TRY(launch_step(params, grid, variant, tuning.dependent, stream));
    }
  }
  return {};
}

// The same through the general path: what is replayed first, then the tokens of the call.
Status run_general_step(const AttentionProblem& problem, const AttentionStep& step,
                        const StepTuning& tuning, cudaStream_t stream) {
  DeviceTables tables{.slots = step.device_slots, .decay = tuning.decay};
  if (step.replay.tokens > 0) {
    AttentionProblem replay = problem;
    replay.q = replay.k = step.replay.k;
    replay.v = step.replay.v;
    replay.o = {};
    replay.tokens = step.replay.tokens;
    tables.lengths = step.replay.accepted;
    TNL_TRY(run_general(replay, step.slots, stream, tables));
    tables.lengths = nullptr;
  }
  if (problem.tokens == 0) return {};
  AttentionProblem own = problem;
  if (!step.keep_state) own.state_out.data = nullptr;
  return run_general(own, step.slots, stream, tables);
}

}  // namespace

Status run_step(const AttentionProblem& problem, const AttentionStep& step, cudaStream_t stream,
                const StepTuning& tuning) {
  const bool replay = step.replay.tokens > 0;
  TNL_TRY(check_step(problem, step, tuning));
  if ((problem.tokens == 0 && !replay) || problem.sequences == 0 || problem.heads == 0 ||
      problem.value_dim == 0) {
    return {};
  }
  const Variant variant = choose_variant(problem, replay);
  return !tuning.general && steps_fast(problem, variant)
             ? launch_steps(problem, step, tuning, variant, stream)
             : run_general_step(problem, step, tuning, stream);
}

}  // namespace tnl::cuda
