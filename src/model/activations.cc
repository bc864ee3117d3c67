#include "model/activations.h"

#include <algorithm>
#include <utility>

#include "core/try.h"

namespace tnl {

std::int64_t logit_rows(const ModelConfig& config, const ActivationPlan& plan) {
  const std::int64_t most_elements = std::int64_t{plan.on_gpu ? 512 : 4} << 20;
  const std::int64_t tokens = std::max<std::int64_t>(plan.tokens, 1);
  const std::int64_t most = std::clamp<std::int64_t>(most_elements / config.vocab_size, 1, tokens);
  if (!plan.on_gpu) return most;
  constexpr std::int64_t kTile = 128;  // rows a matrix product likes to have
  const std::int64_t blocks = (tokens + most - 1) / most;
  const std::int64_t even = (tokens + blocks - 1) / blocks;
  return std::min(tokens, (even + kTile - 1) / kTile * kTile);
}

namespace {

// Collects the matrices of one arena: first their offsets, then, once it exists, their addresses.
class Placer {
 public:
  Placer(Arena& arena, DType dtype, std::int64_t tokens)
      : arena_(arena), dtype_(dtype), tokens_(tokens) {}

  void add(Matrix& matrix, std::int64_t cols) { add(matrix, tokens_, cols); }

  void add(Matrix& matrix, std::int64_t rows, std::int64_t cols) {
    matrix = Matrix::contiguous(nullptr, dtype_, rows, cols);
    pieces_.push_back(
        {&matrix, arena_.add(static_cast<std::size_t>(rows * cols * dtype_size(dtype_)))});
  }

  void set_addresses(void* memory) {
    for (const Piece& piece : pieces_) {
      piece.matrix->data = static_cast<char*>(memory) + piece.offset;
    }
  }

 private:
  struct Piece {
    Matrix* matrix;
    std::size_t offset;
  };
  Arena& arena_;
  DType dtype_;
  std::int64_t tokens_;
  std::vector<Piece> pieces_;
};

std::int64_t widest_key(const ModelConfig& config) {
  std::int64_t widest = 0;
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    widest = std::max(widest, config.heads * config.key_dim(layer));
  }
  return widest;
}

// q, k and v, which follow from the projection.
void add_operands(Placer& placer, const ModelConfig& config, const ActivationPlan& plan,
                  std::int64_t key_width, LayerActivations& layer) {
  placer.add(layer.q, key_width);
  placer.add(layer.k, key_width);
  if (!plan.v_in_place(config)) placer.add(layer.v, config.hidden);
}

// The rest, but for the residual stream.
void add_layer(Placer& placer, const ModelConfig& config, LayerActivations& layer) {
  placer.add(layer.projection, (config.generation == Generation::kTnl ? 4 : 3) * config.hidden);
  if (config.generation == Generation::kTnl3) {
    placer.add(layer.gate_low, config.gate);
    placer.add(layer.gate, config.hidden);
  }
  placer.add(layer.o, config.hidden);
  placer.add(layer.glu, 2 * config.glu);
}

void add_gradients(Placer& placer, const ModelConfig& config, const ActivationPlan& plan,
                   Activations& a) {
  placer.add(a.d_stream, config.width);
  placer.add(a.d_normed, config.width);
  placer.add(a.d_projection, (config.generation == Generation::kTnl ? 4 : 3) * config.hidden);
  if (config.generation == Generation::kTnl3) {
    placer.add(a.d_gate_low, config.gate);
    placer.add(a.d_gate, config.hidden);
  }
  placer.add(a.d_q, widest_key(config));
  placer.add(a.d_k, widest_key(config));
  if (!plan.v_in_place(config)) placer.add(a.d_v, config.hidden);
  placer.add(a.d_o, config.hidden);
  placer.add(a.d_gated, config.hidden);
  placer.add(a.d_glu, 2 * config.glu);
  placer.add(a.d_product, config.glu);
}

// Whether every layer has operands, and the rest, of its own.
bool keeps_operands(const ActivationPlan& plan) {
  return plan.training && plan.recompute == Recompute::kNone;
}
bool keeps_layers(const ActivationPlan& plan) {
  return plan.training && plan.recompute != Recompute::kFull;
}

void add_all(Placer& placer, const ModelConfig& config, const ActivationPlan& plan,
             Activations& a) {
  a.layers.resize(static_cast<std::size_t>(config.layers));
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    LayerActivations& act = a.layers[layer];
    if (plan.training) placer.add(act.input, config.width);
    if (keeps_layers(plan) || (plan.training && layer == 0)) placer.add(act.middle, config.width);
    if (keeps_layers(plan) || layer == 0) add_layer(placer, config, act);
    if (keeps_operands(plan)) {
      add_operands(placer, config, plan, config.heads * config.key_dim(layer), act);
    } else if (layer == 0) {
      add_operands(placer, config, plan, widest_key(config), act);
    }
  }
  if (plan.training) add_gradients(placer, config, plan, a);
  placer.add(a.output, config.width);
  placer.add(a.normed, config.width);
  placer.add(a.gated, config.hidden);
  placer.add(a.product, config.glu);
  placer.add(a.last, plan.sequences, config.width);
  placer.add(a.logits, logit_rows(config, plan), config.vocab_size);
}

}  // namespace

std::size_t activation_bytes(const ModelConfig& config, const ActivationPlan& plan) {
  Activations planned;
  Placer placer(planned.plan, plan.dtype, plan.tokens);
  add_all(placer, config, plan, planned);
  return planned.plan.bytes();
}

Status place_activations(const ModelConfig& config, const ActivationPlan& plan,
                         const Device& device, Activations& a) {
  auto memory = DeviceBuffer::allocate(device, activation_bytes(config, plan), "activations");
  if (!memory.ok()) {
    const char* help = plan.training ? "; recompute = full, or a smaller batch_tokens or "
                                       "sequence_chunk, needs less"
                                     : "; fewer texts or tokens at once need less";
    return {memory.status().code(), memory.status().message() + help};
  }
  a.memory = std::move(memory).value();
  arrange_activations(config, plan, a.memory.data(), a);
  return {};
}

void arrange_activations(const ModelConfig& config, const ActivationPlan& plan, void* memory,
                         Activations& a) {
  Placer placer(a.plan, plan.dtype, plan.tokens);
  add_all(placer, config, plan, a);
  placer.set_addresses(memory);
  const LayerActivations first = a.layers[0];
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    LayerActivations& act = a.layers[layer];
    if (!keeps_layers(plan)) {
      const Matrix input = act.input;
      act = first;
      act.input = input;
    }
    if (!plan.training) act.input = act.middle = a.output;  // updated in place
    if (!keeps_operands(plan)) {
      act.q = first.q;
      act.k = first.k;
      act.v = first.v;
      act.q.cols = act.q.row_stride = act.k.cols = act.k.row_stride =
          config.heads * config.key_dim(layer);
    }
    if (config.generation == Generation::kTnl) {
      act.gate = act.projection.columns(3 * config.hidden, config.hidden);
    }
    if (plan.v_in_place(config)) {
      act.v = act.projection.columns(2 * config.hidden, config.hidden);
    }
  }
  if (plan.training && plan.v_in_place(config)) {
    a.d_v = a.d_projection.columns(2 * config.hidden, config.hidden);
  }
}

}  // namespace tnl
