// The parameters of a configuration: names as in the released checkpoints, shapes, order in memory.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tnl/model.h"

namespace tnl {

enum class ParameterRole {
  kEmbedding,   // [vocab, width]
  kProjection,  // q|k|v|u or q|k|v, [4 or 3 hidden, width]
  kGateDown,    // tnl3, [gate, width]
  kGateUp,      // tnl3, [hidden, gate]
  kTheta,       // LRPE, [heads, 1, head_dim]
  kOutput,      // [width, hidden]
  kGluLinear,   // l1, [glu, width]
  kGluGate,     // l2, [glu, width]; right behind l1, so that both are one matrix of 2 glu rows
  kGluOutput,   // l3, [width, glu]
  kHead,        // [vocab, width], where it is not tied
};

struct ParameterSpec {
  std::string name;
  std::vector<std::int64_t> shape;
  ParameterRole role;
  std::int64_t layer = -1;

  std::int64_t elements() const;
};

// Without gaps in memory, in this order.
std::vector<ParameterSpec> parameter_layout(const ModelConfig& config);

}  // namespace tnl
