// The measurements behind `tnl bench memory` and `tnl bench generate`: what the length of a text
// costs, which should be nothing.
#pragma once

#include <CLI/CLI.hpp>

namespace tnl::command {

void add_memory_bench(CLI::App& bench);
void add_generate_bench(CLI::App& bench);

}  // namespace tnl::command
