#include <algorithm>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "backend/backend.h"
#include "core/rng.h"
#include "model/execution.h"
#include "tnl/bench_limits.h"
#include "tnl/bench_model.h"
#include "tnl/bench_timing.h"
#include "tnl/session.h"

namespace tnl::command {
namespace {

// Bytes of parameters that a pass of a few tokens reads: all but the embedding table, of which one
// row, unless the head is the same memory.
double parameter_bytes(const Model& model) {
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

struct DecodeRow {
  std::int64_t batch = 0;
  Timing timing;
  double parameters = 0;  // bytes read
  double states = 0;      // bytes read and written
};

struct PrefillRow {
  std::int64_t tokens = 0, chunk = 0;
  Timing timing;
  double flops = 0;
  std::size_t activations = 0;  // bytes
};

class Bench {
 public:
  Bench(const InferenceBenchOptions& options, const Model& model)
      : options_(options), model_(model) {
    Rng rng(5);
    prompt_.resize(static_cast<std::size_t>(options.prompt));
    for (std::int32_t& id : prompt_) {
      id = static_cast<std::int32_t>(rng.below(model.config().vocab_size));
    }
  }

  // A whole text read in chunks: what Session::feed() does.
  PrefillRow prefill() const;
  // `batch` texts, a token each at a time, the logits on the host.
  DecodeRow decode(std::int64_t batch) const;

 private:
  const InferenceBenchOptions& options_;
  const Model& model_;
  std::vector<std::int32_t> prompt_;
};

PrefillRow Bench::prefill() const {
  PrefillRow row;
  row.tokens = options_.prompt;
  row.chunk = options_.prefill_chunk > 0 ? options_.prefill_chunk
                                         : Session::default_prefill_chunk(model_.device());
  Session session = require(Session::create(model_, row.chunk));
  row.timing = measure(options_.repeat, [&] { return session.feed(prompt_); });
  row.flops = prefill_flops(model_.config()) * static_cast<double>(row.tokens);
  row.activations =
      require(Execution::create(model_, {.tokens = row.chunk, .sequences = 1})).activation_bytes();
  return row;
}

DecodeRow Bench::decode(std::int64_t batch) const {
  ModelState state = require(ModelState::create(model_, batch));
  Execution execution = require(Execution::create(model_, {.tokens = batch, .sequences = batch}));
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(batch));
  std::vector<std::int64_t> cu_seqlens(static_cast<std::size_t>(batch) + 1);
  for (std::size_t n = 0; n < cu_seqlens.size(); ++n) cu_seqlens[n] = static_cast<std::int64_t>(n);
  std::vector<float> logits(static_cast<std::size_t>(batch * model_.config().vocab_size));
  std::size_t next = 0;
  const auto step = [&] {
    for (std::int32_t& id : tokens) id = prompt_[next++ % prompt_.size()];
    return execution.forward({.tokens = tokens, .cu_seqlens = cu_seqlens}, &state, logits);
  };
  for (int i = 0; i < 3; ++i) require(step());  // the second is recorded
  DecodeRow row{.batch = batch, .timing = measure(options_.decode, step)};
  row.parameters = parameter_bytes(model_);
  row.states = 2.0 * static_cast<double>(state.bytes());
  return row;
}

nlohmann::json to_json(const DecodeRow& row, const DeviceLimits& limits) {
  const double weights = row.parameters / row.timing.median;
  return {{"batch", row.batch},
          {"seconds_best", row.timing.best},
          {"seconds_median", row.timing.median},
          {"tokens_per_second", static_cast<double>(row.batch) / row.timing.median},
          {"parameter_bytes", row.parameters},
          {"state_bytes", row.states},
          {"gbs", weights / 1e9},
          {"share_of_bandwidth", weights / limits.read},
          {"share_with_states", (row.parameters + row.states) / row.timing.median / limits.read}};
}

nlohmann::json to_json(const PrefillRow& row, const DeviceLimits& limits) {
  const double rate = row.flops / row.timing.median;
  return {{"tokens", row.tokens},
          {"chunk", row.chunk},
          {"seconds_best", row.timing.best},
          {"seconds_median", row.timing.median},
          {"tokens_per_second", static_cast<double>(row.tokens) / row.timing.median},
          {"gflops", rate / 1e9},
          {"share_of_matmul", rate / limits.matmul},
          {"activation_bytes", row.activations}};
}

void print_table(const PrefillRow& prefill, const std::vector<DecodeRow>& decode,
                 const DeviceLimits& limits) {
  const double rate = prefill.flops / prefill.timing.median;
  fmt::print(
      "prefill  {} tokens in chunks of {}, {:.1f} MiB of activations: {:.3f} s, {:.0f} tokens/s, "
      "{:.1f} GFLOP/s, {:.1f} % of the products\n",
      prefill.tokens, prefill.chunk, static_cast<double>(prefill.activations) / (1 << 20),
      prefill.timing.median, static_cast<double>(prefill.tokens) / prefill.timing.median,
      rate / 1e9, 100 * rate / limits.matmul);
  for (const DecodeRow& row : decode) {
    const double weights = row.parameters / row.timing.median;
    const double all = (row.parameters + row.states) / row.timing.median;
    fmt::print(
        "decode   {:>3} texts: {:.3f} ms a token, {:.1f} tokens/s, {:.1f} GB/s of parameters, "
        "{:.1f} % of the memory, {:.1f} % with the states\n",
        row.batch, 1e3 * row.timing.median, static_cast<double>(row.batch) / row.timing.median,
        weights / 1e9, 100 * weights / limits.read, 100 * all / limits.read);
  }
}

}  // namespace

void bench_inference(const InferenceBenchOptions& options) {
  const ModelConfig config = options.shape.config();
  const Device device = options.device.open();
  if (device.properties().kind == DeviceKind::kReference) {
    throw Exit{kExitBadInput, "--device: found reference, expected cpu or cuda"};
  }
  catch_interrupts();
  const bool on_gpu = device.properties().kind == DeviceKind::kCuda;
  const Model model = random_model(config, device, storage(options.dtype));
  const Bench bench(options, model);
  // Before and after the timed runs: the machine may change in between.
  const DeviceLimits before = measure_limits(device);
  const PrefillRow prefill = bench.prefill();
  std::vector<DecodeRow> decode;
  for (const std::int64_t batch : options.batches) decode.push_back(bench.decode(batch));
  const DeviceLimits limits = before.best(measure_limits(device));

  const int threads = device.backend().pool().threads();
  const std::string where =
      on_gpu ? device.properties().gpu.model : fmt::format("{} threads", threads);
  const std::string_view precision = dtype_name(device.backend().compute_dtype());
  if (options.json) {
    nlohmann::json json = {{"preset", options.shape.preset},
                           {"parameters", config.parameter_count()},
                           {"dtype", options.dtype},
                           {"precision", precision},
                           {"device", where},
                           {"threads", threads},
                           {"read_bandwidth_gbs", limits.read / 1e9},
                           {"matmul_gflops", limits.matmul / 1e9},
                           {"decode", to_json(decode.front(), limits)},
                           {"prefill", to_json(prefill, limits)}};
    if (on_gpu) json["copy_bandwidth_gbs"] = limits.copy / 1e9;
    for (const DecodeRow& row : decode) json["batches"].push_back(to_json(row, limits));
    fmt::print("{}\n", json.dump(2));
    return;
  }
  fmt::print(
      "{}, {} parameters in {}, {}; memory reads {:.1f} GB/s{}, {} products {:.1f} GFLOP/s\n",
      options.shape.preset, config.parameter_count(), options.dtype, where, limits.read / 1e9,
      on_gpu ? fmt::format(", copies {:.1f}", limits.copy / 1e9) : "", precision,
      limits.matmul / 1e9);
  print_table(prefill, decode, limits);
}

}  // namespace tnl::command
