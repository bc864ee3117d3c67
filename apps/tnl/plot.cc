// tnl plot: the loss of runs, or the speed over lengths, as an SVG.
#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/file.h"
#include "tnl/cli.h"
#include "tnl/commands.h"
#include "train/metrics.h"
#include "train/plot.h"
#include "train/run_directory.h"
#include "train/speed_plot.h"

namespace tnl::command {
namespace {

namespace fs = std::filesystem;

struct PlotFlags {
  std::vector<std::string> runs;
  std::vector<std::string> speed;  // files of JSON
  std::string title;
  std::string over = "steps";
  bool held_out_only = false;
  std::string output;
};

const std::map<std::string, PlotAxis> kAxes = {
    {"steps", PlotAxis::kSteps}, {"tokens", PlotAxis::kTokens}, {"seconds", PlotAxis::kSeconds}};
constexpr const char* kSpeedTitle = "Time a token against the length of the text";

constexpr std::int64_t kMostJson = std::int64_t{1} << 24;

// What `tnl bench train` or `tnl bench generate` printed with --json.
SpeedCurve read_speed(const std::string& path) {
  const auto refuse = [&](const std::string& what) {
    throw Exit{kExitBadInput, fmt::format("{}: {}, expected what tnl bench train or tnl bench "
                                          "generate prints with --json",
                                          path, what)};
  };
  const auto json = nlohmann::json::parse(require(read_file(path, kMostJson)), nullptr, false);
  if (!json.is_object() || !json.contains("results") || !json["results"].is_array()) {
    refuse("found no results");
  }
  SpeedCurve curve;
  for (const auto& row : json["results"]) {
    const auto number = [&](const char* name) {
      const bool there = row.is_object() && row.contains(name) && row[name].is_number();
      return there ? row[name].get<double>() : 0.0;
    };
    const bool training = number("tokens") > 0;
    const double seconds =
        training ? number("seconds_median") / number("tokens") : number("seconds_per_token");
    if (!(number("length") >= 1 && number("length") < 1e15) || !(seconds > 0)) {
      refuse("found a row without length or seconds");
    }
    curve.name = training ? "training" : "generation";
    curve.points.push_back({static_cast<std::int64_t>(number("length")), seconds});
  }
  return curve;
}

void plot_speed(const PlotFlags& options) {
  std::vector<SpeedCurve> curves;
  for (const std::string& path : options.speed) curves.push_back(read_speed(path));
  const std::string title = options.title.empty() ? kSpeedTitle : options.title;
  require(write_file(options.output, speed_plot(curves, title)));
  fmt::print("{}\n", options.output);
}

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

// Files of earlier versions do not say the tokens of a step.
void check_tokens(const PlotFlags& options, const fs::path& path, const PlotRun& run) {
  const auto silent = [](const MetricsLine& line) { return line.tokens == 0; };
  const auto found = std::find_if(run.lines.begin(), run.lines.end(), silent);
  if (options.over == "steps" || found == run.lines.end()) return;
  throw Exit{kExitBadInput,
             fmt::format("{}: found no tokens at step {}, which --over {} needs, expected the "
                         "metrics of this version",
                         path.string(), found->step, options.over)};
}

void plot(const PlotFlags& options) {
  if (options.runs.empty() == options.speed.empty()) {
    throw Exit{kExitBadInput, "found runs and --speed both or neither, expected one of them"};
  }
  if (!options.speed.empty()) return plot_speed(options);
  std::vector<PlotRun> runs;
  for (std::size_t i = 0; i < options.runs.size(); ++i) {
    const RunDirectory run{options.runs[i]};
    runs.push_back({run_name(options.runs, i), require(read_metrics(run.metrics()))});
    check_tokens(options, run.metrics(), runs.back());
  }
  fs::path output = options.output;
  if (output.empty()) output = RunDirectory{options.runs[0]}.root / "loss.svg";
  const PlotOptions look = {.over = kAxes.at(options.over),
                            .held_out_only = options.held_out_only,
                            .title = options.title};
  require(write_file(output, loss_plot(runs, look)));
  fmt::print("{}\n", output.string());
}

}  // namespace

void add_plot(CLI::App& app) {
  const auto options = std::make_shared<PlotFlags>();
  CLI::App* command =
      app.add_subcommand("plot", "draw the loss of training runs as an SVG picture");
  command->add_option("runs", options->runs, "directories of runs, written by tnl train")
      ->type_name("RUN");
  CLI::Option* speed = command->add_option(
      "--speed", options->speed,
      "in place of runs: what tnl bench train and tnl bench generate printed with --json");
  speed->type_name("FILE.json");
  command->add_option("--title", options->title, "of the picture");
  command
      ->add_option("--over", options->over,
                   "what the loss is drawn over: steps, tokens, or seconds of training (without "
                   "evaluations and checkpoints)")
      ->check(CLI::IsMember({"steps", "tokens", "seconds"}))
      ->capture_default_str()
      ->excludes(speed);
  command->add_flag("--held-out-only", options->held_out_only, "leave out the training loss")
      ->excludes(speed);
  CLI::Option* output = command->add_option(
      "--output", options->output, "the picture; the default is loss.svg in the first run");
  output->type_name("FILE.svg");
  command->footer(
      "Training loss (raw and smoothed) and held-out loss, also of a run that is "
      "still going.\n\nExamples:\n"
      "  tnl plot runs/small                              writes runs/small/loss.svg\n"
      "  tnl plot runs/small runs/large --output two.svg  both in one picture\n"
      "  tnl plot runs/small runs/large --over seconds --held-out-only --output two.svg\n"
      "  tnl plot --speed train.json generate.json --output speed.svg");
  speed->needs(output);
  command->callback([options] { plot(*options); });
}

}  // namespace tnl::command
