// What the commands that run a model share: where it is, its tokenizer, its storage in memory.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "tnl/cli.h"
#include "tnl/model.h"
#include "tnl/tokenizer.h"

namespace tnl::command {

struct ModelFlags {
  std::string model;
  std::string tokenizer;
  std::string dtype;
  DeviceFlags device;

  void add(CLI::App& command);

  struct Loaded {
    Model model;
    std::shared_ptr<const Tokenizer> tokenizer;
  };
  Loaded load() const;  // throws Exit
};

// `directory` itself where it is a model directory; the model inside where it is that of a training
// run. Throws Exit.
std::filesystem::path find_model(const std::filesystem::path& directory);

}  // namespace tnl::command
