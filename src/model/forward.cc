#include <algorithm>
#include <cmath>
#include <utility>

#include <fmt/format.h>

#include "core/check.h"
#include "core/try.h"
#include "model/execution_impl.h"

namespace tnl {
namespace {

Status check_batch(const TokenBatch& batch, const Execution::Limits& limits,
                   std::int64_t vocab_size, bool need_targets) {
  const auto total = static_cast<std::int64_t>(batch.tokens.size());
  const auto sequences = static_cast<std::int64_t>(batch.cu_seqlens.size()) - 1;
  if (total > limits.tokens || sequences > limits.sequences) {
    return invalid_argument(
        fmt::format("batch: found {} tokens in {} sequences, expected at most {} in {}", total,
                    sequences, limits.tokens, limits.sequences));
  }
  if (sequences < 0 || batch.cu_seqlens.front() != 0 || batch.cu_seqlens.back() != total ||
      !std::is_sorted(batch.cu_seqlens.begin(), batch.cu_seqlens.end())) {
    return invalid_argument(fmt::format(
        "batch: cu_seqlens: expected rising numbers from 0 to the {} tokens of the batch", total));
  }
  if (need_targets && batch.targets.size() != batch.tokens.size()) {
    return invalid_argument(
        fmt::format("batch: targets: found {}, expected one for each of {} tokens",
                    batch.targets.size(), total));
  }
  if (!batch.mask.empty() && batch.mask.size() != batch.tokens.size()) {
    return invalid_argument(fmt::format("batch: mask: found {}, expected one for each of {} tokens",
                                        batch.mask.size(), total));
  }
  for (std::int64_t t = 0; t < total; ++t) {
    if (batch.tokens[t] < 0 || batch.tokens[t] >= vocab_size) {
      return invalid_argument(fmt::format("batch: token {}: found id {}, expected 0 to {}", t,
                                          batch.tokens[t], vocab_size - 1));
    }
    if (need_targets && batch.targets[t] >= vocab_size) {
      return invalid_argument(fmt::format("batch: target {}: found id {}, expected at most {}", t,
                                          batch.targets[t], vocab_size - 1));
    }
  }
  return {};
}

}  // namespace

TensorView by_head(const Matrix& matrix, std::int64_t heads) {
  TensorView view{.data = matrix.data, .dtype = matrix.dtype, .rank = 3};
  view.shape = {matrix.rows, heads, matrix.cols / heads};
  view.stride = {matrix.row_stride, matrix.cols / heads, 1};
  return view;
}

double Execution::Impl::embedding_scale() const {
  return config().scale_embedding ? std::sqrt(static_cast<double>(config().width)) : 1.0;
}

GateKind Execution::Impl::gate_kind() const {
  return config().generation == Generation::kTnl ? GateKind::kLinear : GateKind::kSigmoid;
}

Status Execution::Impl::reserve_workspace(std::size_t bytes) {
  if (bytes <= workspace.bytes()) return {};
  workspace = DeviceBuffer();  // never both
  TNL_ASSIGN(workspace, DeviceBuffer::allocate(model.device(), bytes, "attention workspace"));
  return {};
}

Status Execution::Impl::begin(const TokenBatch& batch, const StateLinks& links, bool need_targets,
                              double loss_scale) {
  TNL_TRY(check_batch(batch, limits, config().vocab_size, need_targets));
  const auto sequences = static_cast<std::int64_t>(batch.cu_seqlens.size()) - 1;
  if (links.all != nullptr && links.all->sequences() != sequences) {
    return invalid_argument(fmt::format("state: found {} sequences, expected the batch's {}",
                                        links.all->sequences(), sequences));
  }
  tokens = static_cast<std::int64_t>(batch.tokens.size());
  set_positions(batch, links);
  std::vector<AttentionCall> made = make_calls(batch, links);
  const bool same = std::equal(made.begin(), made.end(), calls.begin(), calls.end(),
                               [](const auto& a, const auto& b) { return a.same_as(b); });
  if (!same) calls = std::move(made);  // else their plans serve again
  // Last: but for a step, it waits for the GPU.
  return inputs->upload(batch, positions, loss_scale, /*wait=*/!one_token_each);
}

void Execution::Impl::set_positions(const TokenBatch& batch, const StateLinks& links) {
  const auto sequences = static_cast<std::int64_t>(batch.cu_seqlens.size()) - 1;
  one_token_each = links.all != nullptr && tokens == sequences;
  positions.resize(static_cast<std::size_t>(tokens));
  for (std::int64_t n = 0; n < sequences; ++n) {
    const std::int64_t first = batch.cu_seqlens[n];
    one_token_each = one_token_each && batch.cu_seqlens[n + 1] - first == 1;
    std::int64_t offset = links.all != nullptr ? links.all->positions()[n] : 0;
    if (n == 0 && links.first != nullptr) offset = links.first->positions()[0];
    for (std::int64_t t = first; t < batch.cu_seqlens[n + 1]; ++t)
      positions[t] = offset + t - first;
  }
}

std::vector<AttentionCall> Execution::Impl::make_calls(const TokenBatch& batch,
                                                       const StateLinks& links) const {
  const auto sequences = static_cast<std::int64_t>(batch.cu_seqlens.size()) - 1;
  std::vector<AttentionCall> made;
  const auto add = [&](std::int64_t begin, std::int64_t end) -> AttentionCall& {
    AttentionCall& call = made.emplace_back();
    call.first = batch.cu_seqlens[begin];
    call.count = batch.cu_seqlens[end] - call.first;
    for (std::int64_t n = begin; n <= end; ++n)
      call.cu_seqlens.push_back(batch.cu_seqlens[n] - call.first);
    return call;
  };
  const bool first = links.first != nullptr || links.d_first != nullptr;
  const bool last = links.last != nullptr || links.d_last != nullptr;
  const std::int64_t middle_begin = first ? 1 : 0;
  const std::int64_t middle_end = last ? sequences - 1 : sequences;
  if (first) {
    AttentionCall& call = add(0, 1);
    call.state_in = links.first;
    call.d_state_in = links.d_first;
  }
  if (middle_begin < middle_end || (!first && !last)) {
    AttentionCall& call = add(middle_begin, middle_end);
    call.state_in = call.state_out = links.all;
  }
  if (last) {
    AttentionCall& call = first && sequences == 1 ? made.front() : add(sequences - 1, sequences);
    call.state_out = links.last;
    call.d_state_out = links.d_last;
  }
  return made;
}

// When its layer comes, so that a GPU is busy with the layers before.
Result<const AttentionPlan*> Execution::Impl::forward_plan(std::int64_t layer,
                                                           AttentionCall& call) {
  if (static_cast<std::int64_t>(call.plans.size()) == layer) {
    // Few rows do not depend on each other, here neither.
    const AttentionPlanOptions options{.batch_invariant = !limits.training &&
                                                          tokens <= backend.most_invariant_rows()};
    TNL_ASSIGN(AttentionPlan plan,
               plan_attention(attention_args(layer, call), backend.properties(), options));
    TNL_TRY(reserve_workspace(plan.workspace_bytes));
    call.plans.push_back(std::move(plan));
  }
  return &call.plans[static_cast<std::size_t>(layer)];
}

Status Execution::Impl::run_layers(const TokenBatch& batch, const StateLinks& links) {
  TNL_TRY(queue_layers());
  advance(batch, links);
  return {};
}

Status Execution::Impl::queue_layers() {
  backend.embed(model.impl().weights.embedding, inputs->tokens(), embedding_scale(),
                rows(a.layers[0].input));
  for (std::int64_t layer = 0; layer < config().layers; ++layer) {
    TNL_TRY(token_mixer(layer));
    channel_mixer(layer);
  }
  return {};
}

void Execution::Impl::advance(const TokenBatch& batch, const StateLinks& links) {
  if (links.all != nullptr) {
    for (std::size_t n = 0; n < links.all->positions().size(); ++n) {
      links.all->positions()[n] += batch.cu_seqlens[n + 1] - batch.cu_seqlens[n];
    }
  }
  if (links.last != nullptr) links.last->positions()[0] = positions.back() + 1;
}

// x += W_out (gate * norm(attention(split(W x̂))))
Status Execution::Impl::token_mixer(std::int64_t layer) {
  const LayerWeights& w = model.impl().weights.layers[layer];
  const LayerActivations& act = a.layers[layer];
  ProjectArgs project{.x = rows(act.input),
                      .eps = config().norm_eps,
                      .normed = rows(a.normed),
                      .weights = w.projection,
                      .split = split_args(layer)};
  if (config().generation == Generation::kTnl3) {
    project.gate_down = w.gate_down;
    project.gate_low = rows(act.gate_low);
  }
  backend.project(project);
  if (config().generation == Generation::kTnl3) {
    backend.matmul(MatmulForm::kNT, 1.0, rows(act.gate_low), w.gate_up, 0.0, rows(act.gate));
  }
  for (AttentionCall& call : calls) TNL_TRY(run_attention(layer, call));
  backend.gate_onto(gate_kind(), rows(act.o), rows(act.gate), config().norm_eps, rows(a.gated),
                    w.output, rows(act.input), rows(act.middle));
  return {};
}

// act.glu = W1 x̂ | W2 x̂, and where given the product of the two.
void Execution::Impl::expand(std::int64_t layer, const Matrix& product) {
  const LayerActivations& act = a.layers[layer];
  backend.norm_glu(rows(act.middle), config().norm_eps, rows(a.normed),
                   model.impl().weights.layers[layer].glu_in, rows(act.glu), product);
}

// x += W3 ((W1 x̂) * (W2 x̂))
void Execution::Impl::channel_mixer(std::int64_t layer) {
  const LayerWeights& w = model.impl().weights.layers[layer];
  const LayerActivations& act = a.layers[layer];
  expand(layer, rows(a.product));
  const bool last = layer + 1 == config().layers;
  const Matrix& next = last ? a.output : a.layers[layer + 1].input;
  backend.matmul_onto(rows(act.middle), rows(a.product), w.glu_out, rows(next));
}

SplitArgs Execution::Impl::split_args(std::int64_t layer) const {
  const LayerWeights& w = model.impl().weights.layers[layer];
  const LayerActivations& act = a.layers[layer];
  SplitArgs args;
  args.projection = rows(act.projection);
  args.heads = config().heads;
  args.head_dim = config().head_dim();
  args.silu_qk = config().silu;
  args.silu_v = config().silu && config().generation == Generation::kTnl3;
  if (config().lrpe[layer]) {
    args.theta = w.theta.data;
    args.theta_dtype = w.theta.dtype;
  }
  args.positions = inputs->positions();
  args.mask = inputs->mask();
  args.q = rows(act.q);
  args.k = rows(act.k);
  args.v = rows(act.v);
  return args;
}

AttentionArgs Execution::Impl::attention_args(std::int64_t layer, const AttentionCall& call) const {
  const LayerActivations& act = a.layers[layer];
  const std::int64_t heads = config().heads;
  AttentionArgs args;
  args.q = by_head(call.rows(act.q), heads);
  args.k = by_head(call.rows(act.k), heads);
  args.v = by_head(call.rows(act.v), heads);
  args.o = by_head(call.rows(act.o), heads);
  args.log_decay = log_decay[layer];
  args.scale = config().attention_scale;
  args.cu_seqlens = call.cu_seqlens;
  if (call.state_in != nullptr) args.state_in = call.state_in->layer(layer);
  if (call.state_out != nullptr) args.state_out = call.state_out->layer(layer);
  return args;
}

Status Execution::Impl::run_attention(std::int64_t layer, AttentionCall& call) {
  const AttentionArgs args = attention_args(layer, call);
  if (!one_token_each) {
    TNL_ASSIGN(const AttentionPlan* const plan, forward_plan(layer, call));
    return attention_forward(args, *plan, workspace.data(), model.device());
  }
  AttentionStepArgs step;
  step.q = args.q;
  step.k = args.k;
  step.v = args.v;
  step.o = args.o;
  step.log_decay = args.log_decay;
  step.scale = args.scale;
  step.state = call.state_out->layer(layer);
  step.batch_invariant = true;
  return attention_step(step, model.device());
}

Execution::Execution(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Execution::~Execution() = default;
Execution::Execution(Execution&&) noexcept = default;
Execution& Execution::operator=(Execution&&) noexcept = default;

Result<Execution> Execution::create(const Model& model, const Limits& limits) {
  TNL_CHECK(limits.tokens > 0 && limits.sequences > 0);
  auto impl = std::make_unique<Impl>(model, limits);
  if (limits.training && model.dtype() != impl->backend.compute_dtype()) {
    return invalid_argument(fmt::format("model: found parameters in {}, expected {} for training",
                                        dtype_name(model.dtype()),
                                        dtype_name(impl->backend.compute_dtype())));
  }
  TNL_TRY(place_activations(model.config(), impl->activation_plan(), model.device(), impl->a));
  TNL_ASSIGN(impl->inputs, TokenMemory::create(model.device(), limits.tokens));
  for (std::int64_t layer = 0; layer < model.config().layers; ++layer) {
    impl->log_decay.push_back(model.config().log_decay(layer));
  }
  return Execution(std::move(impl));
}

std::size_t Execution::activation_bytes() const {
  return impl_->a.plan.bytes();
}

Status Execution::forward(const TokenBatch& batch, ModelState* state, std::span<float> logits,
                          bool all_logits) {
  Impl& self = *impl_;
  const StateLinks links{.all = state};
  TNL_TRY(self.begin(batch, links, /*need_targets=*/false));
  const auto sequences = static_cast<std::int64_t>(batch.cu_seqlens.size()) - 1;
  const std::int64_t wanted = all_logits ? self.tokens : sequences;
  const std::int64_t vocab_size = self.config().vocab_size;
  if (!logits.empty() && static_cast<std::int64_t>(logits.size()) != wanted * vocab_size) {
    return invalid_argument(fmt::format("logits: found room for {}, expected {} rows of {}",
                                        logits.size(), wanted, vocab_size));
  }
  if (self.one_token_each && self.tokens <= self.a.logits.rows) {
    return self.step(batch, links, logits);
  }
  TNL_TRY(self.run_layers(batch, links));
  if (logits.empty()) return {};
  Matrix picked = self.rows(self.a.output);
  if (!all_logits) {
    picked = self.a.last.row_block(0, sequences);
    for (std::int64_t n = 0; n < sequences; ++n) {
      const std::int64_t end = batch.cu_seqlens[n + 1];
      if (end == batch.cu_seqlens[n]) {
        return invalid_argument(
            fmt::format("batch: sequence {}: found no token, expected one to predict from", n));
      }
      self.backend.copy(self.a.output.row_block(end - 1, 1), picked.row_block(n, 1));
    }
  }
  const Matrix normed = all_logits ? self.rows(self.a.normed) : picked;
  self.backend.srmsnorm(picked, self.config().norm_eps, normed);
  return self.for_logits(normed, [&](std::int64_t first, const Matrix& block) -> Status {
    return self.fetch(block, logits.subspan(static_cast<std::size_t>(first * vocab_size)));
  });
}

Status Execution::losses(const TokenBatch& batch, ModelState* state, std::span<double> losses) {
  Impl& self = *impl_;
  const StateLinks links{.all = state};
  TNL_TRY(self.begin(batch, links, /*need_targets=*/true));
  if (losses.size() != batch.tokens.size()) {
    return invalid_argument(
        fmt::format("losses: found room for {}, expected {}", losses.size(), batch.tokens.size()));
  }
  TNL_TRY(self.run_layers(batch, links));
  return self.losses_of_output(losses);
}

Status Execution::Impl::losses_of_output(std::span<double> losses) {
  const Matrix normed = rows(a.normed);
  backend.srmsnorm(rows(a.output), config().norm_eps, normed);
  TNL_TRY(for_logits(normed, [&](std::int64_t first, const Matrix& block) -> Status {
    const auto count = static_cast<std::size_t>(block.rows);
    backend.cross_entropy(block, inputs->targets().subspan(first, count), nullptr,
                          inputs->losses().subspan(first, count));
    return {};
  }));
  return inputs->download_losses(losses);
}

}  // namespace tnl
