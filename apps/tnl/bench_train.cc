#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "backend/backend.h"
#include "core/rng.h"
#include "model/execution.h"
#include "tnl/bench_model.h"
#include "tnl/bench_timing.h"
#include "tnl/model.h"
#include "train/optimizer.h"

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
  TokenBatch view() const {
    return {.tokens = tokens, .cu_seqlens = cu_seqlens, .targets = targets, .mask = {}};
  }
};

Row bench_length(const TrainBenchOptions& options, const ModelConfig& config, const Device& device,
                 std::int64_t length) {
  Row row{length, std::max<std::int64_t>(1, options.tokens / length) * length, {}, 0};
  Model model = require(Model::create(config, device, 1));
  Gradients gradients = require(Gradients::create(model));
  Execution execution = require(Execution::create(
      model, {.tokens = row.tokens, .sequences = row.tokens / length, .training = true}));
  Optimizer optimizer =
      require(Optimizer::create(device.backend(), optimizer_tensors(model, gradients), {}));
  const RandomBatch batch(length, row.tokens, config.vocab_size);
  row.timing = measure(options.repeat, [&]() -> Status {
    gradients.zero();
    const auto loss = execution.loss_and_gradients(
        batch.view(), 1.0 / static_cast<double>(row.tokens), gradients);
    if (loss.ok()) optimizer.step(1e-4);
    return loss.status();
  });
  row.flops = flops_per_token(config) * static_cast<double>(row.tokens);
  return row;
}

}  // namespace

void bench_train(const TrainBenchOptions& options) {
  const ModelConfig config = require(find_preset(options.preset)).config;
  const Device device = options.device.open();
  catch_interrupts();
  nlohmann::json results = nlohmann::json::array();
  if (!options.json) {
    fmt::print("{}, {} parameters, fp32, {} threads\n", options.preset, config.parameter_count(),
               device.backend().pool().threads());
    fmt::print("{:>8} {:>8} {:>10} {:>10} {:>10} {:>9}\n", "length", "tokens", "best s", "median s",
               "tokens/s", "GFLOP/s");
  }
  for (const std::int64_t length : options.lengths) {
    const Row row = bench_length(options, config, device, length);
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
  if (!options.json) return;
  const nlohmann::json json = {{"preset", options.preset},
                               {"parameters", config.parameter_count()},
                               {"threads", device.backend().pool().threads()},
                               {"results", results}};
  fmt::print("{}\n", json.dump(2));
}

}  // namespace tnl::command
