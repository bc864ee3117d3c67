// What forward.cc and backward.cc share.
#pragma once

#include <algorithm>
#include <vector>

#include "backend/backend.h"
#include "model/activations.h"
#include "model/execution.h"
#include "model/model_impl.h"
#include "tnl/attention.h"

namespace tnl {

// [total, width] seen as [total, heads, width / heads].
TensorView by_head(const Matrix& matrix, std::int64_t heads);

struct Execution::Impl {
  Impl(const Model& the_model, const Limits& the_limits)
      : model(the_model), limits(the_limits), backend(the_model.device().backend()) {}

  // Checks the batch against the limits and the vocabulary, sets positions and the attention plans.
  Status begin(const TokenBatch& batch, const ModelState* state, bool need_targets);

  // The layers from the embedding to a.output. Advances `state`.
  Status run_layers(const TokenBatch& batch, ModelState* state);
  Status token_mixer(std::int64_t layer, const TokenBatch& batch, ModelState* state);
  void channel_mixer(std::int64_t layer);
  SplitArgs split_args(std::int64_t layer, const TokenBatch& batch) const;
  Status run_attention(std::int64_t layer, const TokenBatch& batch, ModelState* state);
  AttentionArgs attention_args(std::int64_t layer, const TokenBatch& batch,
                               const ModelState* state) const;
  void take_residual(const Matrix& from, const Matrix& to);  // nothing where both are the same

  // logits of `normed` rows, a block at a time; `use(first_row, logits)` may change the block.
  template <class Use>
  void for_logits(const Matrix& normed, const Use& use) {
    const std::int64_t block = a.logits.rows;
    for (std::int64_t first = 0; first < normed.rows; first += block) {
      const std::int64_t rows = std::min(block, normed.rows - first);
      const Matrix logits = a.logits.row_block(0, rows);
      backend.matmul(MatmulForm::kNT, 1.0, normed.row_block(first, rows), model.impl().weights.head,
                     0.0, logits);
      use(first, logits);
    }
  }

  Status backward(const TokenBatch& batch, const ModelWeights& gradients);
  Status token_mixer_backward(std::int64_t layer, const TokenBatch& batch,
                              const LayerWeights& gradients);
  // Gradients of the attention's operands into d_operands.q, k, v.
  Status run_attention_backward(std::int64_t layer, const TokenBatch& batch,
                                const SplitArgs& d_operands);
  void channel_mixer_backward(std::int64_t layer, const LayerWeights& gradients);
  LossSum head_backward(const TokenBatch& batch, double loss_scale, const ModelWeights& gradients);

  Matrix rows(const Matrix& matrix) const { return matrix.row_block(0, tokens); }
  const ModelConfig& config() const { return model.config(); }
  double embedding_scale() const;
  GateKind gate_kind() const;
  Status reserve_workspace(std::size_t bytes);

  Model model;
  Limits limits;
  Backend& backend;
  Activations a;
  std::vector<std::vector<float>> log_decay;  // [layer][head]
  Buffer workspace;                           // of the attention kernels

  // Of the batch that runs.
  std::int64_t tokens = 0;
  bool one_token_each = false;
  std::vector<std::int64_t> positions;
  std::vector<double> token_losses;
  AttentionPlan plans[2];  // without and with LRPE
};

}  // namespace tnl
