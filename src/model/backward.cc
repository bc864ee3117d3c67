// The gradient of the summed loss, layer by layer from the head down. d_stream holds the gradient
// of the residual stream throughout; norms, gates and products are computed again from what the
// forward pass kept.
#include <utility>

#include <fmt/format.h>

#include "core/check.h"
#include "core/try.h"
#include "model/execution_impl.h"

namespace tnl {

Status Execution::Impl::check_training() const {
  if (limits.training) return {};
  return invalid_argument("execution: found one for inference, expected Limits::training");
}

Result<LossSum> Execution::loss_and_gradients(const TokenBatch& batch, double loss_scale,
                                              Gradients& gradients) {
  Impl& self = *impl_;
  TNL_TRY(self.check_training());
  TNL_TRY(self.begin(batch, {}, /*need_targets=*/true, loss_scale));
  TNL_TRY(self.forward_backward(batch, {}, gradients));
  return self.fetch_loss(batch);
}

Status Execution::Impl::forward_backward(const TokenBatch& batch, const StateLinks& links,
                                         Gradients& gradients) {
  TNL_TRY(run_pass(passes, pass_key(batch, links, gradients.data()),
                   [this, data = gradients.data()] { return queue_forward_backward(data); }));
  advance(batch, links);
  return {};
}

Status Execution::Impl::run_pass(Replay<PassKey>& recorded, PassKey key,
                                 std::function<Status()> work) {
  return limits.replay ? recorded.run(backend, std::move(key), std::move(work)) : work();
}

PassKey Execution::Impl::pass_key(const TokenBatch& batch, const StateLinks& links,
                                  const void* gradients) const {
  const auto memory = [](const ModelState* state) {
    return state == nullptr ? nullptr : state->layer(0).data;
  };
  return {{batch.cu_seqlens.begin(), batch.cu_seqlens.end()},
          !batch.mask.empty(),
          gradients,
          workspace.data(),
          {memory(links.first), memory(links.last), memory(links.d_first), memory(links.d_last)}};
}

Status Execution::Impl::queue_forward_backward(void* gradients) {
  TNL_TRY(queue_layers());
  const ModelWeights sums = arrange_weights(config(), gradients, backend.sum_dtype());
  TNL_TRY(head_backward(sums));
  return backward(sums);
}

Result<LossSum> Execution::Impl::fetch_loss(const TokenBatch& batch) {
  token_losses.resize(static_cast<std::size_t>(tokens));
  TNL_TRY(inputs->download_losses(token_losses));
  LossSum loss;
  for (std::int64_t t = 0; t < tokens; ++t) {
    loss.sum += token_losses[t];
    loss.targets += batch.targets[t] >= 0 ? 1 : 0;
  }
  return loss;
}

Status Execution::Impl::head_backward(const ModelWeights& gradients) {
  const Matrix normed = rows(a.normed);
  const Matrix d_normed = rows(a.d_normed);
  backend.srmsnorm(rows(a.output), config().norm_eps, normed);
  TNL_TRY(for_logits(normed, [&](std::int64_t first, const Matrix& logits) -> Status {
    const auto count = static_cast<std::size_t>(logits.rows);
    backend.cross_entropy(logits, inputs->targets().subspan(first, count), inputs->loss_scale(),
                          inputs->losses().subspan(first, count));
    backend.matmul(MatmulForm::kNN, 1.0, logits, model.impl().weights.head, 0.0,
                   d_normed.row_block(first, logits.rows));
    backend.matmul(MatmulForm::kTN, 1.0, logits, normed.row_block(first, logits.rows), 1.0,
                   gradients.head);
    return {};
  }));
  backend.srmsnorm_backward(rows(a.output), d_normed, config().norm_eps, /*accumulate=*/false,
                            rows(a.d_stream));
  return {};
}

Status Execution::Impl::backward(const ModelWeights& gradients) {
  for (std::int64_t layer = config().layers - 1; layer >= 0; --layer) {
    // What the layers share still holds that of the last one.
    if (limits.recompute == Recompute::kFull && layer + 1 < config().layers) {
      TNL_TRY(token_mixer(layer));
      expand(layer);
    }
    channel_mixer_backward(layer, gradients.layers[layer]);
    TNL_TRY(token_mixer_backward(layer, gradients.layers[layer]));
  }
  backend.embed_backward(rows(a.d_stream), inputs->tokens(), embedding_scale(), config().pad_id,
                         gradients.embedding);
  return {};
}

void Execution::Impl::channel_mixer_backward(std::int64_t layer, const LayerWeights& gradients) {
  const LayerWeights& w = model.impl().weights.layers[layer];
  const LayerActivations& act = a.layers[layer];
  const std::int64_t glu = config().glu;
  const Matrix linear = rows(act.glu).columns(0, glu);
  const Matrix gate = rows(act.glu).columns(glu, glu);
  const Matrix d_stream = rows(a.d_stream);
  const Matrix d_glu = rows(a.d_glu);

  backend.matmul(MatmulForm::kNN, 1.0, d_stream, w.glu_out, 0.0, rows(a.d_product));
  backend.product_backward(linear, gate, rows(a.d_product), d_glu.columns(0, glu),
                           d_glu.columns(glu, glu), rows(a.product));
  backend.matmul(MatmulForm::kTN, 1.0, d_stream, rows(a.product), 1.0, gradients.glu_out);
  backend.matmul(MatmulForm::kNN, 1.0, d_glu, w.glu_in, 0.0, rows(a.d_normed));
  backend.srmsnorm_backward(rows(act.middle), rows(a.d_normed), config().norm_eps,
                            /*accumulate=*/true, d_stream, rows(a.normed));
  backend.matmul(MatmulForm::kTN, 1.0, d_glu, rows(a.normed), 1.0, gradients.glu_in);
}

Status Execution::Impl::token_mixer_backward(std::int64_t layer, const LayerWeights& gradients) {
  const LayerWeights& w = model.impl().weights.layers[layer];
  const LayerActivations& act = a.layers[layer];
  const std::int64_t hidden = config().hidden;
  const bool low_rank_gate = config().generation == Generation::kTnl3;
  const Matrix d_stream = rows(a.d_stream);
  const Matrix d_projection = rows(a.d_projection);
  const Matrix d_gate = low_rank_gate ? rows(a.d_gate) : d_projection.columns(3 * hidden, hidden);

  backend.matmul(MatmulForm::kNN, 1.0, d_stream, w.output, 0.0, rows(a.d_gated));
  backend.norm_gate_backward(gate_kind(), rows(act.o), rows(act.gate), rows(a.d_gated),
                             config().norm_eps, rows(a.d_o), d_gate, rows(a.gated));
  backend.matmul(MatmulForm::kTN, 1.0, d_stream, rows(a.gated), 1.0, gradients.output);

  SplitArgs split = split_args(layer);
  if (limits.recompute == Recompute::kSelective && layer + 1 < config().layers) {
    backend.split(split);
  }
  const OperandGradients d = operand_gradients(layer);
  split.q = d.q;
  split.k = d.k;
  split.v = d.v;
  for (AttentionCall& call : calls) TNL_TRY(run_attention_backward(layer, call));
  backend.split_backward(split, d_projection, gradients.theta);

  backend.matmul(MatmulForm::kNN, 1.0, d_projection, w.projection, 0.0, rows(a.d_normed));
  if (low_rank_gate) {
    const Matrix d_gate_low = rows(a.d_gate_low);
    backend.matmul(MatmulForm::kTN, 1.0, d_gate, rows(act.gate_low), 1.0, gradients.gate_up);
    backend.matmul(MatmulForm::kNN, 1.0, d_gate, w.gate_up, 0.0, d_gate_low);
    backend.matmul(MatmulForm::kNN, 1.0, d_gate_low, w.gate_down, 1.0, rows(a.d_normed));
  }
  backend.srmsnorm_backward(rows(act.input), rows(a.d_normed), config().norm_eps,
                            /*accumulate=*/true, d_stream, rows(a.normed));
  backend.matmul(MatmulForm::kTN, 1.0, d_projection, rows(a.normed), 1.0, gradients.projection);
  if (low_rank_gate) {
    backend.matmul(MatmulForm::kTN, 1.0, rows(a.d_gate_low), rows(a.normed), 1.0,
                   gradients.gate_down);
  }
  return {};
}

Execution::Impl::OperandGradients Execution::Impl::operand_gradients(std::int64_t layer) const {
  OperandGradients d{rows(a.d_q), rows(a.d_k), rows(a.d_v)};
  d.q.cols = d.q.row_stride = d.k.cols = d.k.row_stride = a.layers[layer].q.cols;
  return d;
}

AttentionGradients Execution::Impl::attention_gradients(std::int64_t layer,
                                                        const AttentionCall& call) const {
  const std::int64_t heads = config().heads;
  const OperandGradients d = operand_gradients(layer);
  AttentionGradients gradients;
  gradients.d_o = by_head(call.rows(a.d_o), heads);
  gradients.dq = by_head(call.rows(d.q), heads);
  gradients.dk = by_head(call.rows(d.k), heads);
  gradients.dv = by_head(call.rows(d.v), heads);
  if (call.d_state_out != nullptr) gradients.d_state_out = call.d_state_out->layer(layer);
  if (call.d_state_in != nullptr) gradients.d_state_in = call.d_state_in->layer(layer);
  return gradients;
}

Status Execution::Impl::run_attention_backward(std::int64_t layer, AttentionCall& call) {
  const AttentionArgs args = attention_args(layer, call);
  const AttentionGradients gradients = attention_gradients(layer, call);
  call.backward_plans.resize(a.layers.size());
  AttentionPlan& plan = call.backward_plans[layer];
  if (!plan.backward) {
    TNL_ASSIGN(plan, plan_attention_backward(args, gradients, backend.properties()));
    TNL_TRY(reserve_workspace(plan.workspace_bytes));
  }
  return attention_backward(args, gradients, plan, workspace.data(), model.device());
}

}  // namespace tnl
