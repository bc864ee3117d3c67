// A small model that knows bytes, in a directory, as the tests of the command need one.
#pragma once

#include <cstdint>
#include <filesystem>

#include "support/require.h"
#include "tnl/model.h"
#include "tnl/tokenizer.h"

namespace tnl::test {

// Random parameters, large enough that predictions differ.
inline void save_byte_model(const std::filesystem::path& directory, std::uint64_t seed = 1) {
  ModelConfig config;
  config.vocab_size = 258;
  config.width = config.hidden = 32;
  config.layers = 2;
  config.heads = 2;
  config.glu = 48;
  config.lrpe = {1, 0};
  config.init_std = 0.2;
  const Device device = take(Device::open("cpu", {.threads = 1, .cpu_target = {}}));
  EXPECT_OK(take(Model::create(config, device, seed)).save(directory));
  EXPECT_OK(take(load_tokenizer("bytes"))->save(directory));
}

}  // namespace tnl::test
