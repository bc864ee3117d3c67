// Every activation of a pass, placed in one arena before the first token. A pass that trains keeps
// one set of LayerActivations for each layer, less what it computes again; one that does not uses a
// single set for all.
#pragma once

#include <vector>

#include "backend/backend.h"
#include "core/buffer.h"
#include "model/execution.h"
#include "tnl/model.h"

namespace tnl {

// What the backward pass reads of a layer; norms, gates and products are computed again.
struct LayerActivations {
  Matrix input;       // residual stream before the token mixer, [T, width]
  Matrix projection;  // q|k|v|u or q|k|v before activation, [T, 4 or 3 hidden]
  Matrix gate_low;    // tnl3: between the two gate matrices, [T, gate]
  Matrix gate;        // tnl3: before the sigmoid, [T, hidden]; tnl: columns u of `projection`
  Matrix q, k;        // [T, heads K]
  Matrix v, o;        // [T, hidden]
  Matrix middle;      // residual stream before the channel mixer, [T, width]
  Matrix glu;         // l1 x | l2 x, [T, 2 glu]
};

struct Activations {
  std::vector<LayerActivations> layers;  // what is not kept is the same memory in all
  Matrix output;                         // residual stream behind the last layer, [T, width]
  Matrix normed;                         // scratch, [T, width]
  Matrix gated;                          // scratch, [T, hidden]
  Matrix product;                        // scratch, [T, glu]
  Matrix last;                           // normed last row of every sequence, [N, width]
  Matrix logits;                         // one block of rows, [kLogitRows, vocab]

  // Gradients, where the pass trains; named after what they are the gradient of.
  Matrix d_stream, d_normed;  // [T, width]
  Matrix d_projection;        // [T, 4 or 3 hidden]
  Matrix d_gate_low, d_gate;  // tnl3
  Matrix d_q, d_k;            // [T, heads K], the widest layer's
  Matrix d_v, d_o, d_gated;   // [T, hidden]
  Matrix d_glu, d_product;    // [T, 2 glu], [T, glu]

  Arena plan;  // where each lies in `memory`
  DeviceBuffer memory;
};

// What activations are placed for.
struct ActivationPlan {
  DType dtype = DType::kF32;
  std::int64_t tokens = 0;
  std::int64_t sequences = 0;
  bool training = false;
  Recompute recompute = Recompute::kNone;
  bool on_gpu = false;

  // v is the projection's own third block: where nothing is done to it, nothing is copied.
  bool v_in_place(const ModelConfig& config) const {
    return on_gpu && config.generation == Generation::kTnl;
  }
};

// Rows of logits computed at a time, so that a block stays within a few megabytes, and on a GPU
// within one gigabyte, where fewer blocks also mean fewer passes over the gradient of the head.
std::int64_t logit_rows(const ModelConfig& config, const ActivationPlan& plan);

// What place_activations would allocate.
std::size_t activation_bytes(const ModelConfig& config, const ActivationPlan& plan);

// Where each lies in `memory`, which holds activation_bytes().
void arrange_activations(const ModelConfig& config, const ActivationPlan& plan, void* memory,
                         Activations& activations);

Status place_activations(const ModelConfig& config, const ActivationPlan& plan,
                         const Device& device, Activations& activations);

}  // namespace tnl
