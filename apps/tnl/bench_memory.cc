// tnl bench memory: training steps on one sequence of each length, each in a process of its own, so
// that each has a peak of its own.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/checksum.h"
#include "model/execution.h"
#include "tnl/bench_length.h"
#include "tnl/cli.h"
#include "tnl/progress.h"
#include "tnl/resident.h"
#include "train/optimizer.h"

namespace tnl::command {
namespace {

struct Options {
  std::string preset = "6m";
  std::vector<std::int64_t> lengths = {4096, 65536, 1048576};
  std::int64_t chunk = 4096;
  std::int64_t state_memory = 16;
  std::string state_directory = std::filesystem::temp_directory_path().string();
  bool json = false;
  DeviceFlags device;
};

// What a child reports; plain, so that it goes through a pipe.
struct Measured {
  double seconds = 0, loss = 0;
  std::int64_t peak_bytes = 0, activation_bytes = 0;
};

// Random tokens that are nowhere stored: token t of the text is a hash of t.
class RandomText {
 public:
  explicit RandomText(std::int64_t vocab_size)
      : vocab_size_(static_cast<std::uint64_t>(vocab_size)) {}

  Result<TokenBatch> read(std::int64_t begin, std::int64_t end) {
    tokens_.clear();
    for (std::int64_t t = begin; t <= end; ++t) tokens_.push_back(token(t));
    const std::size_t count = tokens_.size() - 1;
    return TokenBatch{.tokens = std::span(tokens_).first(count),
                      .cu_seqlens = {},
                      .targets = std::span(tokens_).last(count),
                      .mask = {}};
  }

 private:
  std::int32_t token(std::int64_t t) const {
    return static_cast<std::int32_t>(mix64(static_cast<std::uint64_t>(t) + 1) % vocab_size_);
  }

  std::uint64_t vocab_size_;
  std::vector<std::int32_t> tokens_;
};

Measured train_once(const Options& options, std::int64_t length) {
  using Clock = std::chrono::steady_clock;
  const ModelConfig config = require(find_preset(options.preset)).config;
  const Device device = options.device.open();
  Model model = require(Model::create(config, device, 1));
  Gradients gradients = require(Gradients::create(model));
  Execution execution = require(Execution::create(
      model, {.tokens = std::min(options.chunk, length),
              .sequences = 1,
              .training = true,
              .state_memory = static_cast<std::size_t>(options.state_memory) << 20,
              .state_directory = options.state_directory}));
  Optimizer optimizer =
      require(Optimizer::create(device, optimizer_tensors(model, model, gradients), {}));
  RandomText text(config.vocab_size);
  const std::int64_t cu_seqlens[] = {0, length};
  const LongBatch batch{
      .cu_seqlens = cu_seqlens,
      .read = [&](std::int64_t begin, std::int64_t end) { return text.read(begin, end); }};
  catch_interrupts();
  Progress progress(fmt::format("{} tokens", length), "percent");
  const Clock::time_point start = Clock::now();
  const LossSum loss = require(execution.loss_and_gradients(
      batch, 1.0 / static_cast<double>(length), gradients, [&](double share) {
        progress.update(static_cast<std::int64_t>(100 * share), 100);
        return !interrupt_requested();
      }));
  optimizer.step(1e-4);
  return {.seconds = std::chrono::duration<double>(Clock::now() - start).count(),
          .loss = loss.sum / static_cast<double>(length),
          .peak_bytes = peak_resident_bytes(),
          .activation_bytes = static_cast<std::int64_t>(execution.activation_bytes())};
}

// Runs in a child; the parent has no threads and no memory worth mentioning.
Measured measure(const Options& options, std::int64_t length) {
  int pipe_ends[2];
  if (::pipe(pipe_ends) != 0) throw Exit{kExitFailed, "cannot make a pipe to a child process"};
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child < 0) throw Exit{kExitFailed, "cannot start a child process"};
  if (child == 0) {
    int status = kExitOk;
    try {
      const Measured measured = train_once(options, length);
      if (::write(pipe_ends[1], &measured, sizeof measured) != sizeof measured)
        status = kExitFailed;
    } catch (const Exit& exit) {
      if (!exit.message.empty()) fmt::print(stderr, "tnl: {}\n", exit.message);
      status = exit.status;
    }
    ::_exit(status);
  }
  ::close(pipe_ends[1]);
  Measured measured;
  const bool whole = ::read(pipe_ends[0], &measured, sizeof measured) == sizeof measured;
  ::close(pipe_ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  if (WIFEXITED(status) && WEXITSTATUS(status) == kExitOk && whole) return measured;
  throw Exit{WIFEXITED(status) ? WEXITSTATUS(status) : kExitFailed,
             WIFEXITED(status) ? "" : fmt::format("the process for {} tokens was killed", length)};
}

void bench_memory(const Options& options) {
  const ModelConfig config = require(find_preset(options.preset)).config;
  std::vector<Measured> rows;
  if (!options.json) {
    fmt::print("{}, {} parameters, chunks of {} tokens, states: {} MiB in memory, the rest in {}\n",
               options.preset, config.parameter_count(), options.chunk, options.state_memory,
               options.state_directory);
    fmt::print("{:>10} {:>10} {:>12} {:>12} {:>10}\n", "tokens", "seconds", "us/token", "peak MiB",
               "loss");
  }
  nlohmann::json results = nlohmann::json::array();
  std::int64_t least = 0, most = 0;
  for (const std::int64_t length : options.lengths) {
    const Measured row = measure(options, length);
    least = least == 0 ? row.peak_bytes : std::min(least, row.peak_bytes);
    most = std::max(most, row.peak_bytes);
    const double each = row.seconds / static_cast<double>(length);
    results.push_back({{"length", length},
                       {"seconds", row.seconds},
                       {"seconds_per_token", each},
                       {"peak_bytes", row.peak_bytes},
                       {"activation_bytes", row.activation_bytes},
                       {"loss", row.loss}});
    if (options.json) continue;
    fmt::print("{:>10} {:>10.2f} {:>12.1f} {:>12.1f} {:>10.4f}\n", length, row.seconds, 1e6 * each,
               static_cast<double>(row.peak_bytes) / (1 << 20), row.loss);
    std::fflush(stdout);
  }
  const double ratio =
      static_cast<double>(most) / static_cast<double>(std::max<std::int64_t>(least, 1));
  if (!options.json) {
    fmt::print("largest over smallest peak: {:.3f}\n", ratio);
    return;
  }
  const nlohmann::json json = {{"preset", options.preset},
                               {"parameters", config.parameter_count()},
                               {"sequence_chunk", options.chunk},
                               {"state_memory_mib", options.state_memory},
                               {"results", results},
                               {"largest_over_smallest_peak", ratio}};
  fmt::print("{}\n", json.dump(2));
}

}  // namespace

void add_memory_bench(CLI::App& bench) {
  const auto options = std::make_shared<Options>();
  CLI::App* command = bench.add_subcommand(
      "memory", "peak memory of a training step on one sequence, against its length");
  command->add_option("--preset", options->preset, "the model's shape; its parameters are random")
      ->capture_default_str();
  command->add_option("--lengths", options->lengths, "tokens of the sequence, one row for each")
      ->delimiter(',')
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 40))
      ->type_name("T1,T2,...")
      ->capture_default_str();
  command->add_option("--sequence-chunk", options->chunk, "tokens a pass")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 31))
      ->capture_default_str();
  command->add_option("--state-memory", options->state_memory, "MiB for the states between chunks")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 30))
      ->capture_default_str();
  command
      ->add_option("--state-directory", options->state_directory,
                   "where the file for the other states goes")
      ->capture_default_str();
  command->add_flag("--json", options->json, "print JSON in place of a table");
  options->device.add(*command);
  command->footer(
      "One step of training, gradient and update, for every length, each in a process of its own.\n"
      "The peak is the most memory that process ever had (ru_maxrss).\n\nExample:\n"
      "  tnl bench memory --preset 6m --sequence-chunk 4096 --lengths 4096,65536,1048576");
  command->callback([options] { bench_memory(*options); });
}

}  // namespace tnl::command
