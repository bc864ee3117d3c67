// tnl generate --prompts: a text for every prompt of a file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "tnl/batch.h"
#include "tnl/cli.h"
#include "tnl/model_flags.h"

namespace tnl::command {

struct BatchFlags {
  std::string prompts;     // the file; empty: no batch is asked for
  std::string output;      // empty: standard output
  std::int64_t batch = 0;  // texts at a time

  void add(CLI::App& command);
};

// Throws Exit. Without `seed` one is drawn; prompts that name none get it plus their place.
void generate_batch(const ModelFlags& model, const BatchFlags& flags,
                    const GenerateOptions& generation, std::optional<std::uint64_t> seed,
                    bool verbose);

}  // namespace tnl::command
