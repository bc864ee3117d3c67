// Execution::plan: the pieces of an execution as they would be placed, without their memory.
#include <algorithm>

#include "core/try.h"
#include "model/execution_impl.h"

namespace tnl {
namespace {

// Where memory could begin; plans look at alignments and distances only.
void* somewhere() {
  constexpr std::uintptr_t kAligned = std::uintptr_t{1} << 30;
  return reinterpret_cast<void*>(kAligned);
}

}  // namespace

ActivationPlan Execution::Impl::activation_plan() const {
  return {.dtype = backend.compute_dtype(),
          .tokens = limits.tokens,
          .sequences = limits.sequences,
          .training = limits.training,
          .recompute = limits.recompute,
          .on_gpu = model.device().properties().kind == DeviceKind::kCuda};
}

Result<std::size_t> Execution::Impl::planned_workspace(std::int64_t length) {
  TokenBatch batch;
  std::vector<std::int64_t> cu_seqlens = {0};
  do {
    cu_seqlens.push_back(cu_seqlens.back() + length);
  } while (cu_seqlens.back() + length <= limits.tokens);
  batch.cu_seqlens = cu_seqlens;
  tokens = cu_seqlens.back();
  std::size_t most = 0;
  for (const AttentionCall& call : make_calls(batch, {})) {
    for (std::int64_t layer = 0; layer < config().layers; ++layer) {
      const AttentionArgs args = attention_args(layer, call);
      TNL_ASSIGN(const AttentionPlan forward, plan_attention(args, backend.properties()));
      TNL_ASSIGN(
          const AttentionPlan backward,
          plan_attention_backward(args, attention_gradients(layer, call), backend.properties()));
      most = std::max({most, forward.workspace_bytes, backward.workspace_bytes});
    }
  }
  return most;
}

Result<Execution::Memory> Execution::plan(const ModelConfig& config, const Device& device,
                                          const Limits& limits,
                                          std::span<const std::int64_t> lengths) {
  const DType dtype = device.backend().compute_dtype();
  const auto model = std::make_shared<Model::Impl>(config, device, dtype);
  Impl planned(Model::share(model), limits);
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    planned.log_decay.push_back(config.log_decay(layer));
  }
  arrange_activations(config, planned.activation_plan(), somewhere(), planned.a);
  Memory memory;
  memory.activations = planned.a.plan.bytes();
  memory.tokens = TokenMemory::bytes(limits.tokens);
  for (const std::int64_t length : lengths) {
    TNL_ASSIGN(const std::size_t bytes, planned.planned_workspace(std::min(length, limits.tokens)));
    memory.workspace = std::max(memory.workspace, bytes);
    if (length > limits.tokens) memory.states = 3 * ModelState::bytes_of(config, device, 1);
  }
  return memory;
}

}  // namespace tnl
