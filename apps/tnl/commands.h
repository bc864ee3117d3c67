// Each subcommand adds itself to the command line; its file does argument parsing and printing
// only.
#pragma once

#include <CLI/CLI.hpp>

namespace tnl::command {

void add_bench(CLI::App& app);
void add_data(CLI::App& app);
void add_eval(CLI::App& app);
void add_generate(CLI::App& app);
void add_info(CLI::App& app);
void add_plot(CLI::App& app);
void add_tokenizer(CLI::App& app);
void add_train(CLI::App& app);
void add_verify(CLI::App& app);

}  // namespace tnl::command
