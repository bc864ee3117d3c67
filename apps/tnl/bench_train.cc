// tnl bench train: tokens a second of whole training steps on random tokens, against the length of
// the sequences.
#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "backend/backend.h"
#include "core/rng.h"
#include "model/execution.h"
#include "model/model_impl.h"
#include "tnl/bench_length.h"
#include "tnl/cli.h"
#include "train/optimizer.h"
#include "train/setup.h"

namespace tnl::command {
namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  std::string preset = "6m";
  std::vector<std::int64_t> lengths = {512};
  std::int64_t batch_tokens = 4096;
  int steps = 6, warmup = 3;
  bool untied = false, no_lrpe = false, json = false;
  std::string recompute = "none";
  DeviceFlags device;
};

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// FLOP/s of one large matrix product in the device's own arithmetic: what the others are held to.
double matrix_rate(const Device& device) {
  Backend& backend = device.backend();
  const std::int64_t size = device.properties().kind == DeviceKind::kCuda ? 8192 : 1024;
  const DType dtype = backend.compute_dtype();
  const std::int64_t elements = size * size;
  DeviceBuffer memory = require(DeviceBuffer::allocate(
      device, static_cast<std::size_t>(3 * elements * dtype_size(dtype)), "the matrix rate"));
  Matrix all = Matrix::contiguous(memory.data(), dtype, 3 * size, size);
  // Zeros would be multiplied faster than numbers are.
  DeviceBuffer numbers = require(DeviceBuffer::allocate(
      device, static_cast<std::size_t>(size) * sizeof(float), "the matrix rate"));
  std::vector<float> row(static_cast<std::size_t>(size));
  Rng rng(7);
  for (std::int64_t r = 0; r < 2 * size; ++r) {
    if (r % 64 == 0) {
      for (float& value : row) value = static_cast<float>(rng.normal());
      require(device.upload(numbers.data(), row.data(), row.size() * sizeof(float)));
    }
    backend.copy(Matrix::contiguous(numbers.data(), DType::kF32, 1, size), all.row_block(r, 1));
  }
  double best = 0;
  for (int repetition = 0; repetition < 8; ++repetition) {
    const Clock::time_point start = Clock::now();
    constexpr int kProducts = 4;
    for (int i = 0; i < kProducts; ++i) {
      backend.matmul(MatmulForm::kNT, 1, all.row_block(0, size), all.row_block(size, size), 0,
                     all.row_block(2 * size, size));
    }
    require(device.synchronize());
    const double products = kProducts * 2.0 * static_cast<double>(size) *
                            static_cast<double>(size) * static_cast<double>(size);
    best = std::max(best, products / seconds_since(start));
  }
  return best;
}

// Three times the forward pass: every matrix once, and the attention's state products.
double flops_per_token(const ModelConfig& config) {
  double matrices = static_cast<double>(config.parameter_count());
  if (!config.tie_embeddings) matrices -= static_cast<double>(config.vocab_size * config.width);
  double attention = 0;
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    attention +=
        8.0 * static_cast<double>(config.heads * config.key_dim(layer) * config.head_dim());
  }
  return 6 * matrices + 3 * attention;
}

// Numbers as a new model's, but the same million of them over and over: a model of any size is made
// in no time.
Model random_model(const ModelConfig& config, const Device& device) {
  Model model = Model::share(require(Model::Impl::allocate(config, device, DType::kF32)));
  std::vector<float> numbers(std::size_t{1} << 20);
  Rng rng(1);
  for (float& number : numbers) number = static_cast<float>(config.init_std * rng.normal());
  const DeviceBuffer& memory = model.impl().memory;
  const std::size_t piece = numbers.size() * sizeof(float);
  for (std::size_t done = 0; done < memory.bytes(); done += piece) {
    require(device.upload(static_cast<char*>(memory.data()) + done, numbers.data(),
                          std::min(piece, memory.bytes() - done)));
  }
  return model;
}

struct Batch {
  std::vector<std::int32_t> tokens, targets;
  std::vector<std::int64_t> cu_seqlens;
};

Batch random_batch(const ModelConfig& config, std::int64_t tokens, std::int64_t length) {
  Batch batch;
  Rng rng(static_cast<std::uint64_t>(length));
  const auto vocabulary = static_cast<std::uint64_t>(config.vocab_size);
  for (std::int64_t t = 0; t < tokens; ++t) {
    if (t % length == 0) batch.cu_seqlens.push_back(t);
    batch.tokens.push_back(static_cast<std::int32_t>(rng.below(vocabulary)));
    batch.targets.push_back(static_cast<std::int32_t>(rng.below(vocabulary)));
  }
  batch.cu_seqlens.push_back(tokens);
  return batch;
}

struct Measured {
  double seconds = 0;  // median of a step
  double loss = 0;     // nats a token, of the last step
};

// The parts of a run that training needs in memory.
struct Run {
  Model master, model;
  Gradients gradients;
  Execution execution;
  Optimizer optimizer;

  static Run create(const ModelConfig& config, const Device& device, const Options& options) {
    const std::int64_t tokens = options.batch_tokens;
    TrainConfig settings;
    settings.recompute = options.recompute;
    Model master = random_model(config, device);
    Model model = require(convert_model(master, device.backend().compute_dtype()));
    Gradients gradients = require(Gradients::create(model));
    Execution execution = require(Execution::create(model, {.tokens = tokens,
                                                            .sequences = tokens,
                                                            .training = true,
                                                            .recompute = recompute_of(settings)}));
    Optimizer optimizer =
        require(Optimizer::create(device, optimizer_tensors(master, model, gradients), {}));
    return {std::move(master), std::move(model), std::move(gradients), std::move(execution),
            std::move(optimizer)};
  }

  Measured measure(const Options& options, std::int64_t length) {
    const std::int64_t tokens = options.batch_tokens / length * length;
    const Batch batch = random_batch(model.config(), tokens, length);
    const TokenBatch view{.tokens = batch.tokens,
                          .cu_seqlens = batch.cu_seqlens,
                          .targets = batch.targets,
                          .mask = {}};
    std::vector<double> times;
    Measured measured;
    for (int step = 0; step < options.warmup + options.steps; ++step) {
      const Clock::time_point start = Clock::now();
      gradients.zero();
      const LossSum loss =
          require(execution.loss_and_gradients(view, 1.0 / static_cast<double>(tokens), gradients));
      optimizer.step(1e-4);
      require(model.device().synchronize());
      if (step >= options.warmup) times.push_back(seconds_since(start));
      measured.loss = loss.sum / static_cast<double>(tokens);
    }
    std::sort(times.begin(), times.end());
    measured.seconds = times[times.size() / 2];
    return measured;
  }

  std::size_t bytes() const {
    const auto stored = [](const Model& m) {
      return static_cast<std::size_t>(m.config().parameter_count() * dtype_size(m.dtype()));
    };
    const bool two = master.dtype() != model.dtype();
    return stored(model) + (two ? stored(master) : 0) + stored(master) + optimizer.bytes() +
           execution.activation_bytes();
  }
};

void bench_train(const Options& options) {
  ModelConfig config = require(find_preset(options.preset)).config;
  if (options.untied) config.tie_embeddings = false;
  if (options.no_lrpe) config.lrpe.assign(config.lrpe.size(), 0);
  const Device device = options.device.open();
  const double rate = matrix_rate(device);
  Run run = Run::create(config, device, options);
  const std::string where = device.properties().kind == DeviceKind::kCuda
                                ? device.properties().gpu.model
                                : device.properties().cpu_target;
  const double gibibytes = static_cast<double>(run.bytes()) / (1 << 30);
  if (!options.json) {
    fmt::print(
        "{}, {}: {} parameters, {} tokens a step, {:.2f} GiB, matrix products {:.1f} "
        "TFLOP/s\n{:>8} {:>10} {:>12} {:>12} {:>8} {:>8}\n",
        where, options.preset, config.parameter_count(), options.batch_tokens, gibibytes,
        rate * 1e-12, "length", "ms/step", "tokens/s", "TFLOP/s", "of rate", "loss");
  }
  nlohmann::json results = nlohmann::json::array();
  for (const std::int64_t length : options.lengths) {
    const Measured row = run.measure(options, length);
    const auto tokens = static_cast<double>(options.batch_tokens / length * length);
    const double flops = flops_per_token(config) * tokens / row.seconds;
    results.push_back({{"length", length},
                       {"seconds", row.seconds},
                       {"tokens_per_second", tokens / row.seconds},
                       {"flops_per_second", flops},
                       {"share_of_matrix_rate", flops / rate},
                       {"loss", row.loss}});
    if (options.json) continue;
    fmt::print("{:>8} {:>10.2f} {:>12.0f} {:>12.2f} {:>7.1f}% {:>8.4f}\n", length,
               row.seconds * 1e3, tokens / row.seconds, flops * 1e-12, 100 * flops / rate,
               row.loss);
    std::fflush(stdout);
  }
  if (!options.json) return;
  const nlohmann::json json = {{"device", where},
                               {"preset", options.preset},
                               {"parameters", config.parameter_count()},
                               {"batch_tokens", options.batch_tokens},
                               {"bytes", run.bytes()},
                               {"matrix_flops_per_second", rate},
                               {"results", results}};
  fmt::print("{}\n", json.dump(2));
}

}  // namespace

void add_train_bench(CLI::App& bench) {
  const auto options = std::make_shared<Options>();
  CLI::App* command = bench.add_subcommand(
      "train", "tokens a second of training steps, against the length of the sequences");
  command->add_option("--preset", options->preset, "the model's shape; its parameters are random")
      ->capture_default_str();
  command->add_flag("--untied", options->untied, "a head of its own in place of the embedding");
  command->add_flag("--no-lrpe", options->no_lrpe, "no LRPE in any layer");
  command->add_option("--lengths", options->lengths, "tokens of a sequence, one row for each")
      ->delimiter(',')
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 31))
      ->type_name("T1,T2,...")
      ->capture_default_str();
  command->add_option("--batch-tokens", options->batch_tokens, "of a step, at least a sequence")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 31))
      ->capture_default_str();
  command->add_option("--steps", options->steps, "timed; the median counts")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_option("--warmup", options->warmup, "steps before them")
      ->check(CLI::Range(0, 1000))
      ->capture_default_str();
  command->add_option("--recompute", options->recompute, "as for tnl train")
      ->check(CLI::IsMember({"none", "selective", "full"}))
      ->capture_default_str();
  command->add_flag("--json", options->json, "print JSON in place of a table");
  options->device.add(*command);
  command->footer(
      "Example:\n  tnl bench train --device cuda --preset 385m --untied --no-lrpe "
      "--batch-tokens 32768 --lengths 1024,4096,16384,32768");
  command->callback([options] {
    for (const std::int64_t length : options->lengths) {
      if (length <= options->batch_tokens) continue;
      throw Exit{kExitBadInput,
                 fmt::format("--lengths: found {}, expected at most the {} of --batch-tokens",
                             length, options->batch_tokens)};
    }
    bench_train(*options);
  });
}

}  // namespace tnl::command
