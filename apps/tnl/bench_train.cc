#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "backend/backend.h"
#include "core/rng.h"
#include "model/execution.h"
#include "model/model_impl.h"
#include "tnl/bench_model.h"
#include "tnl/bench_timing.h"
#include "tnl/model.h"
#include "train/memory.h"
#include "train/optimizer.h"
#include "train/setup.h"

namespace tnl::command {
namespace {

struct Row {
  std::int64_t length = 0, tokens = 0;
  Timing timing;
  double flops = 0;
};

// Multiply-adds of the matrices and of the operator, counted twice: 6 a parameter that multiplies
// and token, 16 KV a head, layer and token.
double flops_per_token(const ModelConfig& config) {
  const double table =
      config.tie_embeddings ? 0 : static_cast<double>(config.vocab_size * config.width);
  double flops = 6 * (static_cast<double>(config.parameter_count()) - table);
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    flops += 16.0 * static_cast<double>(config.heads * config.key_dim(layer) * config.head_dim());
  }
  return flops;
}

// Whole sequences of one length, and the tokens that follow as targets.
struct RandomBatch {
  std::vector<std::int32_t> tokens, targets;
  std::vector<std::int64_t> cu_seqlens = {0};

  RandomBatch(std::int64_t length, std::int64_t total, std::int64_t vocab_size) {
    Rng rng(3);
    for (std::int64_t t = 0; t < total; ++t) {
      tokens.push_back(static_cast<std::int32_t>(rng.below(vocab_size)));
      targets.push_back(static_cast<std::int32_t>(rng.below(vocab_size)));
    }
    while (cu_seqlens.back() < total) cu_seqlens.push_back(cu_seqlens.back() + length);
  }
  LongBatch view() const {
    return {.cu_seqlens = cu_seqlens,
            .read = [this](std::int64_t begin, std::int64_t end) -> Result<TokenBatch> {
              const auto first = static_cast<std::size_t>(begin);
              const auto count = static_cast<std::size_t>(end - begin);
              return TokenBatch{.tokens = std::span(tokens).subspan(first, count),
                                .cu_seqlens = {},
                                .targets = std::span(targets).subspan(first, count),
                                .mask = {}};
            }};
  }
};

// What training keeps in memory.
struct Run {
  Model master, model;  // the same where activations are f32
  Gradients gradients;
  Execution execution;
  Optimizer optimizer;
};

// For passes of `tokens` tokens in sequences of any length.
Execution::Limits limits_of(const TrainBenchOptions& options) {
  const std::int64_t longest = *std::max_element(options.lengths.begin(), options.lengths.end());
  const std::int64_t pass =
      options.sequence_chunk > 0 ? options.sequence_chunk : std::max(options.tokens, longest);
  TrainConfig settings;
  settings.recompute = options.recompute;
  return {.tokens = pass,
          .sequences = pass,
          .training = true,
          .recompute = recompute_of(settings),
          .replay = !options.no_replay,
          .state_memory = static_cast<std::size_t>(options.state_memory) << 20};
}

Run make_run(const ModelConfig& config, const Device& device, const Execution::Limits& limits) {
  Model master = random_model(config, device, DType::kF32);
  Model model = require(convert_model(master, device.backend().compute_dtype()));
  Gradients gradients = require(Gradients::create(model));
  Execution execution = require(Execution::create(model, limits));
  Optimizer optimizer =
      require(Optimizer::create(device, optimizer_tensors(master, model, gradients), {}));
  return {std::move(master), std::move(model), std::move(gradients), std::move(execution),
          std::move(optimizer)};
}

Row bench_length(const TrainBenchOptions& options, Run& run, std::int64_t length) {
  const ModelConfig& config = run.model.config();
  Row row{length, std::max<std::int64_t>(1, options.tokens / length) * length, {}, 0};
  const RandomBatch batch(length, row.tokens, config.vocab_size);
  const auto go_on = [](double) { return !interrupt_requested(); };
  const auto step = [&]() -> Status {
    run.gradients.zero();
    const auto loss = run.execution.loss_and_gradients(
        batch.view(), 1.0 / static_cast<double>(row.tokens), run.gradients, go_on);
    if (loss.status().code() == StatusCode::kInterrupted) throw Exit{kExitInterrupted, ""};
    if (!loss.ok()) return loss.status();
    run.optimizer.step(1e-4);
    return run.model.device().synchronize();
  };
  row.timing = measure(options.repeat, step, options.warm_up);
  row.flops = flops_per_token(config) * static_cast<double>(row.tokens);
  return row;
}

double gibibytes(std::size_t bytes) {
  return static_cast<double>(bytes) / (1 << 30);
}

}  // namespace

void bench_train(const TrainBenchOptions& options) {
  const ModelConfig config = options.shape.config();
  const Device device = options.device.open();
  catch_interrupts();
  const bool on_gpu = device.properties().kind == DeviceKind::kCuda;
  const std::string where = on_gpu ? device.properties().gpu.model
                                   : fmt::format("{} threads", device.backend().pool().threads());
  const std::string_view dtype = dtype_name(device.backend().compute_dtype());
  const Execution::Limits limits = limits_of(options);
  const std::size_t planned =
      bytes_of(require(plan_memory(config, device, limits, options.lengths)));
  Run run = make_run(config, device, limits);
  nlohmann::json results = nlohmann::json::array();
  if (!options.json) {
    fmt::print("{}, {} parameters, {}, {}, {:.2f} GiB planned\n", options.shape.preset,
               config.parameter_count(), dtype, where, gibibytes(planned));
    fmt::print("{:>8} {:>8} {:>10} {:>10} {:>10} {:>9}\n", "length", "tokens", "best s", "median s",
               "tokens/s", "GFLOP/s");
  }
  for (const std::int64_t length : options.lengths) {
    const Row row = bench_length(options, run, length);
    const double rate = static_cast<double>(row.tokens) / row.timing.median;
    const double gflops = row.flops / row.timing.median / 1e9;
    if (options.json) {
      results.push_back({{"length", row.length},
                         {"tokens", row.tokens},
                         {"seconds_best", row.timing.best},
                         {"seconds_median", row.timing.median},
                         {"tokens_per_second", rate},
                         {"gflops", gflops}});
    } else {
      fmt::print("{:>8} {:>8} {:>10.3f} {:>10.3f} {:>10.0f} {:>9.1f}\n", row.length, row.tokens,
                 row.timing.best, row.timing.median, rate, gflops);
    }
  }
  const std::optional<MemoryUse> use = require(device.backend().memory_use());
  if (!options.json) {
    if (!use) return;
    fmt::print("memory: {:.3f} GiB allocated, {:.3f} GiB with code and graphs of the kernels\n",
               gibibytes(use->allocated), gibibytes(use->taken));
    return;
  }
  nlohmann::json memory = {{"planned", planned}};
  if (use) {
    memory["allocated"] = use->allocated;
    memory["taken"] = use->taken;
  }
  const nlohmann::json json = {{"preset", options.shape.preset},
                               {"parameters", config.parameter_count()},
                               {"threads", device.backend().pool().threads()},
                               {"device", where},
                               {"precision", dtype},
                               {"recompute", options.recompute},
                               {"replay", !options.no_replay},
                               {"tokens_per_pass", limits.tokens},
                               {"memory", memory},
                               {"results", results}};
  fmt::print("{}\n", json.dump(2));
}

}  // namespace tnl::command
