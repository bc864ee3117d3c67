// tnl plot: the loss of runs as an SVG.
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "core/file.h"
#include "tnl/cli.h"
#include "tnl/commands.h"
#include "train/metrics.h"
#include "train/plot.h"
#include "train/run_directory.h"

namespace tnl::command {
namespace {

namespace fs = std::filesystem;

struct PlotOptions {
  std::vector<std::string> runs;
  std::string output;
};

// The last part of the path, or all of it where two runs would have the same name.
std::string run_name(const std::vector<std::string>& runs, std::size_t index) {
  const auto last_part = [&](std::size_t i) {
    return fs::absolute(runs[i] + "/.").lexically_normal().parent_path().filename().string();
  };
  for (std::size_t other = 0; other < runs.size(); ++other) {
    if (other != index && last_part(other) == last_part(index)) return runs[index];
  }
  return last_part(index);
}

void plot(const PlotOptions& options) {
  std::vector<PlotRun> runs;
  for (std::size_t i = 0; i < options.runs.size(); ++i) {
    const RunDirectory run{options.runs[i]};
    runs.push_back({run_name(options.runs, i), require(read_metrics(run.metrics()))});
  }
  fs::path output = options.output;
  if (output.empty()) output = RunDirectory{options.runs[0]}.root / "loss.svg";
  require(write_file(output, loss_plot(runs)));
  fmt::print("{}\n", output.string());
}

}  // namespace

void add_plot(CLI::App& app) {
  const auto options = std::make_shared<PlotOptions>();
  CLI::App* command =
      app.add_subcommand("plot", "draw the loss of training runs as an SVG picture");
  command->add_option("runs", options->runs, "directories of runs, written by tnl train")
      ->required()
      ->type_name("RUN");
  command
      ->add_option("--output", options->output,
                   "the picture; the default is loss.svg in the first run")
      ->type_name("FILE.svg");
  command->footer(
      "Training loss (raw and smoothed) and held-out loss over the steps, also of a run that is "
      "still going.\n\nExamples:\n"
      "  tnl plot runs/small                              writes runs/small/loss.svg\n"
      "  tnl plot runs/small runs/large --output two.svg  both in one picture");
  command->callback([options] { plot(*options); });
}

}  // namespace tnl::command
