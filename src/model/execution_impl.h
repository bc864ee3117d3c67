// What forward.cc, backward.cc and chunks.cc share.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "backend/backend.h"
#include "backend/transfer_buffer.h"
#include "core/record_stack.h"
#include "core/try.h"
#include "model/activations.h"
#include "model/execution.h"
#include "model/long_batch.h"
#include "model/model_impl.h"
#include "model/replay.h"
#include "model/token_memory.h"
#include "tnl/attention.h"

namespace tnl {

// How the sequences of a pass meet the states of the texts they belong to. Nothing given: every
// sequence starts at zero and its end is dropped.
struct StateLinks {
  ModelState* all = nullptr;  // an entry for each sequence, advanced; or, of one entry each:
  const ModelState* first = nullptr;  // what the first sequence continues from
  ModelState* last = nullptr;         // gets the end of the last sequence; may be `first`
  // Gradients, for the backward pass: into the end of the last and out of the start of the first
  // sequence. Not the same memory.
  const ModelState* d_last = nullptr;
  ModelState* d_first = nullptr;
};

// The sequences of a pass that go through the attention operator together: states are given for all
// of a call or for none.
struct AttentionCall {
  std::int64_t first = 0, count = 0;     // tokens of the pass
  std::vector<std::int64_t> cu_seqlens;  // from 0 to count
  const ModelState* state_in = nullptr;
  ModelState* state_out = nullptr;
  const ModelState* d_state_out = nullptr;
  ModelState* d_state_in = nullptr;
  // Of each layer: on a GPU they depend on the decays. They are made when a layer first needs them.
  std::vector<AttentionPlan> plans, backward_plans;

  // Whether plans for one serve the other.
  bool same_as(const AttentionCall& other) const {
    return first == other.first && count == other.count && cu_seqlens == other.cu_seqlens &&
           state_in == other.state_in && state_out == other.state_out &&
           d_state_out == other.d_state_out && d_state_in == other.d_state_in;
  }
  Matrix rows(const Matrix& matrix) const { return matrix.row_block(first, count); }
};

// What a chunked pass carries from chunk to chunk.
struct ChunkCarry {
  ModelState state;           // at the start of the chunk
  ModelState d_end, d_start;  // its gradient at the end and at the start of the chunk, which does
                              // not change places: recordings know both
  RecordStack starts;         // the states at the starts of the chunks to go back over
  TransferBuffer record;      // one of them on its way
};

// [total, width] seen as [total, heads, width / heads].
TensorView by_head(const Matrix& matrix, std::int64_t heads);

// What decides whether a step of decoding can be replayed: the memory it works on, and how much of
// it.
struct StepKey {
  const void* states = nullptr;
  std::int64_t tokens = 0;
  bool logits = false, mask = false;

  bool operator==(const StepKey&) const = default;
};

// Likewise a training pass. Its other memory is the execution's for life.
struct PassKey {
  std::vector<std::int64_t> cu_seqlens;
  bool mask = false;
  const void* gradients = nullptr;
  const void* workspace = nullptr;
  std::array<const void*, 4> states = {};  // of its links

  bool operator==(const PassKey&) const = default;
};

struct Execution::Impl {
  ActivationPlan activation_plan() const;

  Impl(const Model& the_model, const Limits& the_limits)
      : model(the_model), limits(the_limits), backend(the_model.device().backend()) {}

  // Checks the batch against the limits and the vocabulary, sets positions and attention calls.
  // loss_scale: of the gradients, for a pass that has any.
  Status begin(const TokenBatch& batch, const StateLinks& links, bool need_targets,
               double loss_scale = 0);
  void set_positions(const TokenBatch& batch, const StateLinks& links);
  // One attention call for all sequences; those with a state of their own at either end go alone.
  std::vector<AttentionCall> make_calls(const TokenBatch& batch, const StateLinks& links) const;
  Result<const AttentionPlan*> forward_plan(std::int64_t layer, AttentionCall& call);

  // The layers from the embedding to a.output. Advances the linked states.
  Status run_layers(const TokenBatch& batch, const StateLinks& links);
  Status queue_layers();
  void advance(const TokenBatch& batch, const StateLinks& links);  // positions
  // forward() where every sequence has one token.
  Status step(const TokenBatch& batch, const StateLinks& links, std::span<float> logits);
  Status queue_step(bool with_logits);
  Status prepare_host_logits();        // makes `host_logits` where there is a GPU
  Matrix step_logits_of_host() const;  // where queue_step() leaves them there
  // As fp32, by all threads.
  void widen(const Matrix& block, std::span<float> to) const;
  // A block of logits, once it is computed.
  Status fetch(const Matrix& block, std::span<float> to);
  Status token_mixer(std::int64_t layer);
  void expand(std::int64_t layer, const Matrix& product = {});
  void channel_mixer(std::int64_t layer);
  SplitArgs split_args(std::int64_t layer) const;
  Status run_attention(std::int64_t layer, AttentionCall& call);
  AttentionArgs attention_args(std::int64_t layer, const AttentionCall& call) const;
  Status losses_of_output(std::span<double> losses);  // of a.output

  // logits of `normed` rows, a block at a time; `use(first_row, logits)` may change the block.
  template <class Use>
  Status for_logits(const Matrix& normed, const Use& use) {
    const std::int64_t block = a.logits.rows;
    for (std::int64_t first = 0; first < normed.rows; first += block) {
      const std::int64_t rows = std::min(block, normed.rows - first);
      const Matrix logits = a.logits.row_block(0, rows);
      backend.matmul(MatmulForm::kNT, 1.0, normed.row_block(first, rows), model.impl().weights.head,
                     0.0, logits);
      TNL_TRY(use(first, logits));
    }
    return {};
  }

  // begin() has been called with the same batch and links and with the scale of the loss. On a GPU
  // the work is only queued.
  Status forward_backward(const TokenBatch& batch, const StateLinks& links, Gradients& gradients);
  Status queue_forward_backward(void* gradients);
  PassKey pass_key(const TokenBatch& batch, const StateLinks& links, const void* gradients) const;
  Status run_pass(Replay<PassKey>& recorded, PassKey key, std::function<Status()> work);
  // The losses of the pass, once it is done.
  Result<LossSum> fetch_loss(const TokenBatch& batch);
  Status backward(const ModelWeights& gradients);
  Status token_mixer_backward(std::int64_t layer, const LayerWeights& gradients);
  Status run_attention_backward(std::int64_t layer, AttentionCall& call);
  // Where the gradients of the attention's operands go.
  struct OperandGradients {
    Matrix q, k, v;
  };
  OperandGradients operand_gradients(std::int64_t layer) const;
  AttentionGradients attention_gradients(std::int64_t layer, const AttentionCall& call) const;
  // What the operator needs for a pass full of sequences of this length.
  Result<std::size_t> planned_workspace(std::int64_t length);
  void channel_mixer_backward(std::int64_t layer, const LayerWeights& gradients);
  Status head_backward(const ModelWeights& gradients);

  Status check_training() const;
  Status prepare_carry();  // makes `carry` at the first long batch
  Status forward_chunk(const Chunk& chunk, const TokenBatch& batch);
  // fetch_start: the newest of carry->starts comes to carry->record while the device works.
  Result<LossSum> chunk_gradients(const Chunk& chunk, const TokenBatch& batch, double loss_scale,
                                  Gradients& gradients, bool fetch_start);

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
  DeviceBuffer workspace;                     // of the attention kernels
  std::optional<TokenMemory> inputs;          // and losses, of the pass that runs

  // Of the pass that runs.
  std::int64_t tokens = 0;
  bool one_token_each = false;
  std::vector<std::int64_t> positions;
  std::vector<double> token_losses;
  std::vector<AttentionCall> calls;

  Replay<StepKey> steps;
  Replay<PassKey> passes, forward_passes;
  std::vector<std::byte> fetched;             // logits as a GPU has them
  std::optional<TransferBuffer> host_logits;  // of a step, likewise

  std::optional<ChunkCarry> carry;
};

}  // namespace tnl
