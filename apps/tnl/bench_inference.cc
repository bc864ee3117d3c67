#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "backend/backend.h"
#include "backend/cpu/peaks.h"
#include "core/rng.h"
#include "tnl/bench_model.h"
#include "tnl/bench_timing.h"
#include "tnl/model.h"
#include "tnl/session.h"

namespace tnl::command {
namespace {

// Bytes of parameters that a token reads: all but the embedding table, of which one row, unless
// the head is the same memory.
double bytes_per_token(const Model& model) {
  const ModelConfig& config = model.config();
  const double table =
      config.tie_embeddings ? 0 : static_cast<double>(config.vocab_size * config.width);
  return (static_cast<double>(config.parameter_count()) - table) *
         static_cast<double>(dtype_size(model.dtype()));
}

// Multiply-adds of the layers' matrices and the operator, counted twice; the head is for the last
// token only and left out.
double prefill_flops(const ModelConfig& config) {
  const double tables =
      static_cast<double>((config.tie_embeddings ? 1 : 2) * config.vocab_size * config.width);
  double flops = 2 * (static_cast<double>(config.parameter_count()) - tables);
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    flops += 4.0 * static_cast<double>(config.heads * config.key_dim(layer) * config.head_dim());
  }
  return flops;
}

DType storage(const std::string& name) {
  return name == "f32" ? DType::kF32 : name == "bf16" ? DType::kBF16 : DType::kF16;
}

}  // namespace

void bench_inference(const InferenceBenchOptions& options) {
  const ModelConfig config = require(find_preset(options.preset)).config;
  const Device device = options.device.open();
  const std::string& target = device.properties().cpu_target;
  if (target.empty()) throw Exit{kExitBadInput, "--device: expected cpu"};
  catch_interrupts();
  const Model model = require(Model::create(config, device, 1, storage(options.dtype)));
  Session session = require(Session::create(model, options.prefill_chunk));
  ThreadPool& pool = device.backend().pool();

  Rng rng(5);
  std::vector<std::int32_t> prompt(static_cast<std::size_t>(options.prompt));
  for (std::int32_t& id : prompt) id = static_cast<std::int32_t>(rng.below(config.vocab_size));
  // Before and after the timed runs: the machine may change in between.
  const double bandwidth_before = require(cpu::read_bandwidth(target, pool));
  const double matmul_before = require(cpu::matmul_rate(device.backend()));
  const Timing prefill = measure(options.repeat, [&] { return session.feed(prompt); });
  const Timing decode = measure(options.decode, [&] {
    return session.feed(std::span(prompt).subspan(session.position() % options.prompt, 1));
  });
  const double bandwidth = std::max(bandwidth_before, require(cpu::read_bandwidth(target, pool)));
  const double matmul = std::max(matmul_before, require(cpu::matmul_rate(device.backend())));

  const double read = bytes_per_token(model) / decode.median;
  const double flops = prefill_flops(config) * static_cast<double>(options.prompt) / prefill.median;
  if (options.json) {
    const nlohmann::json json = {{"preset", options.preset},
                                 {"parameters", config.parameter_count()},
                                 {"dtype", options.dtype},
                                 {"threads", pool.threads()},
                                 {"read_bandwidth_gbs", bandwidth / 1e9},
                                 {"matmul_gflops", matmul / 1e9},
                                 {"decode",
                                  {{"seconds_best", decode.best},
                                   {"seconds_median", decode.median},
                                   {"gbs", read / 1e9},
                                   {"share_of_bandwidth", read / bandwidth}}},
                                 {"prefill",
                                  {{"tokens", options.prompt},
                                   {"chunk", options.prefill_chunk},
                                   {"seconds_best", prefill.best},
                                   {"seconds_median", prefill.median},
                                   {"gflops", flops / 1e9},
                                   {"share_of_matmul", flops / matmul}}}};
    fmt::print("{}\n", json.dump(2));
    return;
  }
  fmt::print(
      "{}, {} parameters in {}, {} threads; memory reads {:.1f} GB/s, fp32 products {:.1f} "
      "GFLOP/s\n",
      options.preset, config.parameter_count(), options.dtype, pool.threads(), bandwidth / 1e9,
      matmul / 1e9);
  fmt::print(
      "prefill  {} tokens in {:.3f} s: {:.0f} tokens/s, {:.1f} GFLOP/s, {:.1f} % of the "
      "products\n",
      options.prompt, prefill.median, static_cast<double>(options.prompt) / prefill.median,
      flops / 1e9, 100 * flops / matmul);
  fmt::print("decode   {:.2f} ms a token: {:.1f} tokens/s, {:.1f} GB/s, {:.1f} % of the memory\n",
             1e3 * decode.median, 1 / decode.median, read / 1e9, 100 * read / bandwidth);
}

}  // namespace tnl::command
