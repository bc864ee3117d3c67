// Small configurations that cover what the architecture allows, and batches for them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/rng.h"
#include "model/execution.h"
#include "tnl/model.h"

namespace tnl::test {

inline ModelConfig small_config(Generation generation = Generation::kTnl) {
  ModelConfig config;
  config.generation = generation;
  config.vocab_size = 37;
  config.width = 24;
  config.layers = 2;
  config.heads = 3;
  config.hidden = 24;
  config.glu = 40;
  config.gate = 5;
  config.lrpe = {1, 0};
  config.init_std = 0.3;  // large, so that every path contributes to the gradient
  return config;
}

struct NamedConfig {
  std::string name;
  ModelConfig config;
};

inline std::vector<NamedConfig> config_cases() {
  std::vector<NamedConfig> cases;
  cases.push_back({"tnl", small_config()});
  cases.push_back({"tnl3", small_config(Generation::kTnl3)});
  ModelConfig config = small_config();
  config.tie_embeddings = false;
  config.pad_id = -1;
  cases.push_back({"untied", config});
  config = small_config();
  config.lrpe = {0, 0};
  config.scale_embedding = false;
  cases.push_back({"no_lrpe_no_scale", config});
  config = small_config();
  config.layers = 1;
  config.lrpe = {0};
  config.slopes = SlopeSchedule::kPaperLinear;
  cases.push_back({"one_layer_paper_slopes", config});
  config = small_config(Generation::kTnl3);
  config.hidden = 30;
  config.heads = 5;
  config.lrpe = {1, 1};
  config.attention_scale = 0.5;
  cases.push_back({"tnl3_hidden_not_width", config});
  config = small_config();
  config.silu = false;
  cases.push_back({"no_activation", config});
  return cases;
}

// Owns what a TokenBatch points to.
struct OwnedBatch {
  std::vector<std::int32_t> tokens, targets;
  std::vector<std::int64_t> cu_seqlens;
  std::vector<std::uint8_t> mask;

  TokenBatch view() const {
    return {.tokens = tokens, .cu_seqlens = cu_seqlens, .targets = targets, .mask = mask};
  }
};

inline OwnedBatch random_batch(const ModelConfig& config, const std::vector<std::int64_t>& lengths,
                               std::uint64_t seed) {
  Rng rng(seed);
  OwnedBatch batch;
  batch.cu_seqlens.push_back(0);
  for (const std::int64_t length : lengths) {
    for (std::int64_t t = 0; t < length; ++t) {
      const auto vocab_size = static_cast<std::uint64_t>(config.vocab_size);
      batch.tokens.push_back(static_cast<std::int32_t>(rng.below(vocab_size)));
      batch.targets.push_back(rng.below(8) == 0 ? -1
                                                : static_cast<std::int32_t>(rng.below(vocab_size)));
    }
    batch.cu_seqlens.push_back(static_cast<std::int64_t>(batch.tokens.size()));
  }
  return batch;
}

}  // namespace tnl::test
