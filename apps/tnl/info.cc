// tnl info: the machine, or a model directory.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "tnl/cli.h"
#include "tnl/commands.h"

namespace tnl::command {

void add_info(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("info", "print the machine, or what a model directory holds");
  command->callback(
      [] { fmt::print("CPU targets: {}\n", fmt::join(available_cpu_targets(), ", ")); });
}

}  // namespace tnl::command
