#include "model/layout.h"

#include <fmt/format.h>

namespace tnl {

std::int64_t ParameterSpec::elements() const {
  std::int64_t count = 1;
  for (const std::int64_t extent : shape) count *= extent;
  return count;
}

std::vector<ParameterSpec> parameter_layout(const ModelConfig& config) {
  const std::int64_t width = config.width;
  const std::int64_t hidden = config.hidden;
  std::vector<ParameterSpec> layout;
  layout.push_back(
      {"model.embed_tokens.weight", {config.vocab_size, width}, ParameterRole::kEmbedding});
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    const std::string token_mixer = fmt::format("model.layers.{}.token_mixer.", layer);
    const std::string channel_mixer = fmt::format("model.layers.{}.channel_mixer.", layer);
    const auto add = [&](std::string name, std::vector<std::int64_t> shape, ParameterRole role) {
      layout.push_back({std::move(name), std::move(shape), role, layer});
    };
    if (config.generation == Generation::kTnl) {
      add(token_mixer + "qkvu_proj.weight", {4 * hidden, width}, ParameterRole::kProjection);
    } else {
      add(token_mixer + "qkv_proj.weight", {3 * hidden, width}, ParameterRole::kProjection);
      add(token_mixer + "output_gate.0.weight", {config.gate, width}, ParameterRole::kGateDown);
      add(token_mixer + "output_gate.1.weight", {hidden, config.gate}, ParameterRole::kGateUp);
    }
    if (config.lrpe[layer]) {
      add(token_mixer + "lrpe.theta", {config.heads, 1, config.head_dim()}, ParameterRole::kTheta);
    }
    add(token_mixer + "out_proj.weight", {width, hidden}, ParameterRole::kOutput);
    add(channel_mixer + "l1.weight", {config.glu, width}, ParameterRole::kGluLinear);
    add(channel_mixer + "l2.weight", {config.glu, width}, ParameterRole::kGluGate);
    add(channel_mixer + "l3.weight", {width, config.glu}, ParameterRole::kGluOutput);
  }
  if (!config.tie_embeddings) {
    layout.push_back({"lm_head.weight", {config.vocab_size, width}, ParameterRole::kHead});
  }
  return layout;
}

}  // namespace tnl
