// tnl bench generate: what the n-th token costs.
#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "tnl/bench_length.h"
#include "tnl/cli.h"
#include "tnl/model_flags.h"
#include "tnl/progress.h"
#include "tnl/resident.h"
#include "tnl/session.h"

namespace tnl::command {
namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  std::string preset = "6m";
  std::string model;
  std::vector<std::int64_t> lengths = {100, 1000, 10000, 100000};
  std::int64_t window = 100;
  bool json = false;
  DeviceFlags device;
};

struct Row {
  std::int64_t length = 0;
  double median = 0, mean = 0;  // seconds a token, of the last `window` of them
  std::int64_t resident = 0, peak = 0;
};

Model load_model(const Options& options, const Device& device) {
  if (!options.model.empty()) return require(Model::load(find_model(options.model), device));
  return require(Model::create(require(find_preset(options.preset)).config, device, 1));
}

Row measured(std::int64_t length, std::vector<double> seconds) {
  double sum = 0;
  for (const double one : seconds) sum += one;
  std::sort(seconds.begin(), seconds.end());
  return {.length = length,
          .median = seconds[seconds.size() / 2],
          .mean = sum / static_cast<double>(seconds.size()),
          .resident = resident_bytes(),
          .peak = peak_resident_bytes()};
}

// One text from the first token to the last, sampled as `tnl generate` does.
std::vector<Row> generate_rows(const Options& options, const Model& model) {
  const auto tokenizer = require(load_tokenizer("bytes"));
  if (tokenizer->vocab_size() > model.config().vocab_size) {
    throw Exit{kExitBadInput, fmt::format("the model has a vocabulary of {}, expected at least {}",
                                          model.config().vocab_size, tokenizer->vocab_size())};
  }
  Session session = require(Session::create(model));
  const std::int32_t start = 0;
  require(session.feed({&start, 1}));
  GenerateOptions generation;
  generation.max_tokens = options.lengths.back();
  generation.stop_at_eos = false;
  generation.sampler = {.temperature = 0.8, .top_k = 40, .top_p = 0.95, .min_p = 0.05, .seed = 1};

  std::vector<Row> rows;
  const auto window = static_cast<std::size_t>(std::min(options.window, options.lengths.front()));
  std::vector<double> newest(window);  // a ring
  Progress progress("generate", "tokens");
  std::int64_t count = 0;
  Clock::time_point last = Clock::now();
  require(generate(session, *tokenizer, generation, [&](std::string_view) {
    const Clock::time_point now = Clock::now();
    newest[static_cast<std::size_t>(count) % window] =
        std::chrono::duration<double>(now - last).count();
    ++count;
    if (rows.size() == options.lengths.size()) return false;  // the tail of the text
    if (count == options.lengths[rows.size()]) rows.push_back(measured(count, newest));
    if (count % 64 == 0) progress.update(count, options.lengths.back());
    last = Clock::now();
    return rows.size() < options.lengths.size() && !interrupt_requested();
  }));
  if (interrupt_requested()) throw Exit{kExitInterrupted, ""};
  return rows;
}

void bench_generate(Options options) {
  std::sort(options.lengths.begin(), options.lengths.end());
  options.lengths.erase(std::unique(options.lengths.begin(), options.lengths.end()),
                        options.lengths.end());
  const Device device = options.device.open();
  catch_interrupts();
  const Model model = load_model(options, device);
  const std::vector<Row> rows = generate_rows(options, model);
  const auto [fastest, slowest] = std::minmax_element(
      rows.begin(), rows.end(), [](const Row& a, const Row& b) { return a.median < b.median; });
  const double ratio = slowest->median / fastest->median;
  if (options.json) {
    nlohmann::json results = nlohmann::json::array();
    for (const Row& row : rows) {
      results.push_back({{"length", row.length},
                         {"seconds_per_token", row.median},
                         {"seconds_per_token_mean", row.mean},
                         {"resident_bytes", row.resident},
                         {"peak_bytes", row.peak}});
    }
    const nlohmann::json json = {{"model", options.model.empty() ? options.preset : options.model},
                                 {"parameters", model.config().parameter_count()},
                                 {"device", device.properties().name},
                                 {"threads", device.properties().threads},
                                 {"window", options.window},
                                 {"results", results},
                                 {"slowest_over_fastest", ratio}};
    fmt::print("{}\n", json.dump(2));
    return;
  }
  fmt::print("{}, {} parameters, {} threads; of the last {} tokens\n",
             options.model.empty() ? options.preset : options.model,
             model.config().parameter_count(), device.properties().threads, options.window);
  fmt::print("{:>10} {:>12} {:>12} {:>10} {:>10}\n", "tokens", "median us", "mean us", "MiB now",
             "peak MiB");
  for (const Row& row : rows) {
    fmt::print("{:>10} {:>12.1f} {:>12.1f} {:>10.1f} {:>10.1f}\n", row.length, 1e6 * row.median,
               1e6 * row.mean, static_cast<double>(row.resident) / (1 << 20),
               static_cast<double>(row.peak) / (1 << 20));
  }
  fmt::print("slowest over fastest median: {:.3f}\n", ratio);
}

}  // namespace

void add_generate_bench(CLI::App& bench) {
  const auto options = std::make_shared<Options>();
  CLI::App* command =
      bench.add_subcommand("generate", "time and memory of a generated token, against its place");
  CLI::Option* preset =
      command->add_option("--preset", options->preset, "shape of a model with random parameters")
          ->capture_default_str();
  command->add_option("--model", options->model, "a model directory or training run in its place")
      ->excludes(preset);
  command->add_option("--lengths", options->lengths, "places in the text, one row for each")
      ->delimiter(',')
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 40))
      ->type_name("N1,N2,...")
      ->capture_default_str();
  command->add_option("--window", options->window, "tokens before each place that are timed")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 20))
      ->capture_default_str();
  command->add_flag("--json", options->json, "print JSON in place of a table");
  options->device.add(*command);
  command->footer(
      "One text is generated token by token up to the largest length, sampling included.\n"
      "\nExample:\n  tnl bench generate --lengths 100,1000,10000,100000");
  command->callback([options] { bench_generate(*options); });
}

}  // namespace tnl::command
