// tnl bench generate: what the n-th token costs.
#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "backend/backend.h"
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
  std::int64_t rounds = 5;
  bool json = false;
  DeviceFlags device;
};

// A place in the text.
struct Row {
  std::int64_t length = 0;
  std::int64_t resident = 0, peak = 0;  // bytes on arrival
  double median = 0, mean = 0;          // seconds a token, of those just before it
};

// The text as it stood `window` tokens before a place: timed from there as often as wanted.
struct Branch {
  Session session;
  GenerateState text;
  std::vector<double> seconds;  // of every token of every round
};

Model load_model(const Options& options, const Device& device) {
  if (!options.model.empty()) return require(Model::load(find_model(options.model), device));
  std::optional<DType> dtype;  // on a GPU as a model directory would be loaded
  if (device.properties().kind == DeviceKind::kCuda) dtype = device.backend().compute_dtype();
  return require(Model::create(require(find_preset(options.preset)).config, device, 1, dtype));
}

class GenerateBench {
 public:
  GenerateBench(const Options& options, const Model& model)
      : options_(options), tokenizer_(require(load_tokenizer("bytes"))) {
    if (tokenizer_->vocab_size() > model.config().vocab_size) {
      throw Exit{kExitBadInput,
                 fmt::format("the model has a vocabulary of {}, expected at least {}",
                             model.config().vocab_size, tokenizer_->vocab_size())};
    }
    generation_.stop_at_eos = false;
    generation_.sampler = {
        .temperature = 0.8, .top_k = 40, .top_p = 0.95, .min_p = 0.05, .seed = 1};
    walk(model);
  }

  // The places in turns, so that what else the machine does falls on all of them alike.
  std::vector<Row> measure() {
    for (std::int64_t round = 0; round < options_.rounds; ++round) {
      for (Branch& branch : branches_) time_once(branch);
    }
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      std::vector<double>& seconds = branches_[i].seconds;
      double sum = 0;
      for (const double one : seconds) sum += one;
      std::sort(seconds.begin(), seconds.end());
      rows_[i].median = seconds[seconds.size() / 2];
      rows_[i].mean = sum / static_cast<double>(seconds.size());
    }
    return rows_;
  }

 private:
  std::int64_t window() const { return std::min(options_.window, options_.lengths.front()); }

  // One text from the first token to the last, sampled as `tnl generate` does, with a branch kept
  // before every place.
  void walk(const Model& model) {
    Session session = require(Session::create(model));
    const std::int32_t start = 0;
    require(session.feed({&start, 1}));
    for (std::size_t i = 0; i < options_.lengths.size(); ++i) {  // so that memory stays as it is
      branches_.push_back({require(session.fork()), {}, {}});
    }
    GenerateState text;
    Progress progress("generate", "tokens");
    std::int64_t count = 0;
    for (const std::int64_t length : options_.lengths) {
      const std::int64_t before = length - window();
      generation_.max_tokens = before - count;
      if (generation_.max_tokens > 0) {
        require(generate(
            session, *tokenizer_, generation_,
            [&](std::string_view) {
              if (++count % 64 == 0) progress.update(count, options_.lengths.back());
              return !interrupt_requested();
            },
            &text));
      }
      if (interrupt_requested()) throw Exit{kExitInterrupted, ""};
      Branch& branch = branches_[rows_.size()];
      branch.session = require(session.fork());
      branch.text = text;
      rows_.push_back(
          {.length = length, .resident = resident_bytes(), .peak = peak_resident_bytes()});
    }
  }

  void time_once(Branch& branch) {
    Session session = require(branch.session.fork());
    GenerateState text = branch.text;
    generation_.max_tokens = window();
    Clock::time_point last = Clock::now();
    require(generate(
        session, *tokenizer_, generation_,
        [&](std::string_view) {
          const Clock::time_point now = Clock::now();
          branch.seconds.push_back(std::chrono::duration<double>(now - last).count());
          last = now;
          return !interrupt_requested();
        },
        &text));
    if (interrupt_requested()) throw Exit{kExitInterrupted, ""};
  }

  const Options& options_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  GenerateOptions generation_;
  std::vector<Row> rows_;
  std::vector<Branch> branches_;
};

void bench_generate(Options options) {
  std::sort(options.lengths.begin(), options.lengths.end());
  options.lengths.erase(std::unique(options.lengths.begin(), options.lengths.end()),
                        options.lengths.end());
  const Device device = options.device.open();
  catch_interrupts();
  const Model model = load_model(options, device);
  const std::vector<Row> rows = GenerateBench(options, model).measure();
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
                                 {"rounds", options.rounds},
                                 {"results", results},
                                 {"slowest_over_fastest", ratio}};
    fmt::print("{}\n", json.dump(2));
    return;
  }
  fmt::print("{}, {} parameters, {} threads; of the last {} tokens, {} times\n",
             options.model.empty() ? options.preset : options.model,
             model.config().parameter_count(), device.properties().threads, options.window,
             options.rounds);
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
  command->add_option("--rounds", options->rounds, "times each place is timed, in turns")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 20))
      ->capture_default_str();
  command->add_flag("--json", options->json, "print JSON in place of a table");
  options->device.add(*command);
  command->footer(
      "One text is generated token by token up to the largest length, sampling included. The "
      "tokens\n"
      "before each place are then timed again from a branch kept there, the places in turns.\n"
      "\nExample:\n  tnl bench generate --lengths 100,1000,10000,100000");
  command->callback([options] { bench_generate(*options); });
}

}  // namespace tnl::command
