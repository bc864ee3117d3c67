// Models of a few thousand parameters.
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "core/rng.h"
#include "tnl/model.h"

namespace tnl::testing {

inline ModelConfig tiny_config(std::int64_t vocab_size, Generation generation = Generation::kTnl) {
  ModelConfig config;
  config.generation = generation;
  config.vocab_size = vocab_size;
  config.width = config.hidden = 32;
  config.layers = 2;
  config.heads = 2;
  config.glu = 48;
  config.gate = 4;
  config.lrpe = {1, 0};
  config.pad_id = config.bos_id = config.eos_id = -1;  // for the smallest vocabularies
  config.init_std = 0.2;                               // large, so that predictions differ
  return config;
}

inline Model tiny_model(const ModelConfig& config, const std::string& device = "cpu") {
  auto opened = Device::open(device, {.threads = 2, .cpu_target = {}});
  EXPECT_TRUE(opened.ok()) << opened.status().message();
  auto model = Model::create(config, *opened, 7);
  EXPECT_TRUE(model.ok()) << model.status().message();
  return std::move(model).value();
}

// With all parameters zero every logit is 0: the uniform distribution.
inline Model uniform_model(std::int64_t vocab_size) {
  Model model = tiny_model(tiny_config(vocab_size));
  for (const NamedTensor& parameter : model.parameters()) {
    std::memset(
        parameter.view.data, 0,
        static_cast<std::size_t>(parameter.view.elements() * dtype_size(parameter.view.dtype)));
  }
  return model;
}

inline std::vector<std::int32_t> random_tokens(std::size_t count, std::int64_t vocab_size,
                                               std::uint64_t seed) {
  Rng rng(seed);
  std::vector<std::int32_t> tokens(count);
  for (std::int32_t& token : tokens) {
    token = static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(vocab_size)));
  }
  return tokens;
}

}  // namespace tnl::testing
