// tnl info: the machine, the presets, or what a model directory holds.
#include <map>
#include <memory>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/convert.h"
#include "model/activations.h"
#include "model/layout.h"
#include "tnl/cli.h"
#include "tnl/commands.h"
#include "tnl/model.h"

namespace tnl::command {
namespace {

struct Options {
  std::string directory;
  std::string preset;
  std::int64_t batch_tokens = 4096;
};

std::string mebibytes(double bytes) {
  return bytes < 1024.0 * 1048576.0 ? fmt::format("{:.1f} MiB", bytes / 1048576.0)
                                    : fmt::format("{:.2f} GiB", bytes / 1073741824.0);
}

std::string millions(std::int64_t count) {
  return count < 1'000'000 ? fmt::format("{:.1f} K", static_cast<double>(count) / 1e3)
                           : fmt::format("{:.2f} M", static_cast<double>(count) / 1e6);
}

void print_machine() {
  const Device device = require(Device::open("cpu"));
  fmt::print("devices      cpu ({} threads), reference (fp64, for tests)\n",
             device.properties().threads);
  fmt::print("CPU targets  {} (the first is used; --cpu-target forces one)\n",
             fmt::join(available_cpu_targets(), ", "));
  fmt::print("\npreset   parameters  layers  width  heads    glu   vocab  values\n");
  for (const Preset& preset : presets()) {
    const ModelConfig& config = preset.config;
    fmt::print("{:<7}  {:>10}  {:>6}  {:>5}  {:>5}  {:>5}  {:>6}  {}\n", preset.name,
               millions(config.parameter_count()), config.layers, config.width, config.heads,
               config.glu, config.vocab_size, preset.provenance);
  }
}

const char* part_name(ParameterRole role) {
  switch (role) {
    case ParameterRole::kEmbedding:
      return "embedding";
    case ParameterRole::kHead:
      return "head";
    case ParameterRole::kTheta:
      return "LRPE frequencies";
    case ParameterRole::kProjection:
    case ParameterRole::kGateDown:
    case ParameterRole::kGateUp:
    case ParameterRole::kOutput:
      return "token mixers";
    default:
      return "channel mixers";
  }
}

void print_architecture(const ModelConfig& config) {
  std::vector<std::int64_t> lrpe_layers;
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    if (config.lrpe[layer]) lrpe_layers.push_back(layer);
  }
  fmt::print(
      "architecture  TransNormerLLM, {}\n",
      config.generation == Generation::kTnl
          ? "generation tnl (fused q|k|v|u, gate u * norm(o))"
          : fmt::format("generation tnl3 (fused q|k|v, sigmoid gate of rank {})", config.gate));
  fmt::print("layers        {}\nwidth         {}\nheads         {} of {}\nglu           {}\n",
             config.layers, config.width, config.heads, config.head_dim(), config.glu);
  fmt::print("vocabulary    {}, {} head\n", config.vocab_size,
             config.tie_embeddings ? "tied" : "separate");
  fmt::print("LRPE          {}\n", lrpe_layers.empty()
                                       ? std::string("no layer")
                                       : fmt::format("layer {}", fmt::join(lrpe_layers, ", ")));
  fmt::print("slopes        {}\n", config.slopes == SlopeSchedule::kReleased
                                       ? "as released: 2^(-8 (h+1) / H) (1 - l / (L-1) + 1e-5)"
                                       : "the paper's: (8 h / H) (1 - l / L)");
}

void print_memory(const ModelConfig& config, DType stored, std::int64_t batch_tokens) {
  std::map<std::string, std::int64_t> parts;
  for (const ParameterSpec& spec : parameter_layout(config)) {
    parts[part_name(spec.role)] += spec.elements();
  }
  const std::int64_t total = config.parameter_count();
  fmt::print("\nparameters    {} ({})\n", total, millions(total));
  for (const auto& [name, count] : parts) {
    fmt::print("  {:<16}  {:>12}  {:>5.1f} %\n", name, count,
               100.0 * static_cast<double>(count) / static_cast<double>(total));
  }
  std::int64_t state = 0;
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    state += config.heads * config.key_dim(layer) * config.head_dim();
  }
  constexpr std::int64_t kPrefill = 512;
  const auto count = static_cast<double>(total);
  const double weights = count * static_cast<double>(dtype_size(stored));
  const double prefill =
      static_cast<double>(activation_bytes(config, {.tokens = kPrefill, .sequences = 1}));
  fmt::print(
      "\ninference     {} = {} parameters ({}) + {} activations + {} state a text, of any "
      "length\n",
      mebibytes(weights + prefill + 4.0 * static_cast<double>(state)), mebibytes(weights),
      dtype_name(stored), mebibytes(prefill), mebibytes(4.0 * static_cast<double>(state)));
  const double activations = static_cast<double>(activation_bytes(
      config, {.tokens = batch_tokens, .sequences = batch_tokens, .training = true}));
  fmt::print(
      "training      {} = {} parameters + {} gradients + {} AdamW + {} activations ({} tokens "
      "a batch)\n",
      mebibytes(16.0 * count + activations), mebibytes(4.0 * count), mebibytes(4.0 * count),
      mebibytes(8.0 * count), mebibytes(activations), batch_tokens);
}

void run(const Options& options) {
  if (!options.preset.empty()) {
    const Preset preset = require(find_preset(options.preset));
    print_architecture(preset.config);
    fmt::print("values        {}\n", preset.provenance);
    print_memory(preset.config, DType::kF32, options.batch_tokens);
    return;
  }
  if (options.directory.empty()) return print_machine();
  const ModelSummary summary = require(inspect_model(options.directory));
  print_architecture(summary.config);
  print_memory(summary.config, summary.dtype, options.batch_tokens);
}

}  // namespace

void add_info(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "info", "print this machine and the presets, or what a model directory holds");
  command->add_option("directory", options->directory, "model directory (Hugging Face layout)");
  command->add_option("--preset", options->preset, "a named configuration in place of a directory")
      ->excludes("directory");
  command
      ->add_option("--batch-tokens", options->batch_tokens, "batch that the training memory is for")
      ->check(CLI::Range(1, 1 << 24))
      ->capture_default_str();
  command->footer(
      "Examples:\n"
      "  tnl info                  CPU targets, devices and presets\n"
      "  tnl info tests/data/tnl-a parameters and memory of a model directory\n"
      "  tnl info --preset 385m    the same for a named configuration");
  command->callback([options] { run(*options); });
}

}  // namespace tnl::command
