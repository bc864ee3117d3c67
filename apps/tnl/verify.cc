// tnl verify: a model against what the published code computed from it.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "backend/backend.h"
#include "core/convert.h"
#include "model/verify.h"
#include "tnl/cli.h"
#include "tnl/commands.h"
#include "tnl/model.h"

namespace tnl::command {
namespace {

struct Options {
  std::string model;
  std::string oracle;
  VerifyTolerances tolerances;
  DeviceFlags device;
};

// CLI::NonNegativeNumber lets NaN pass.
void check(const char* flag, double tolerance) {
  if (tolerance >= 0) return;
  throw Exit{kExitBadInput,
             fmt::format("{}: found {}, expected a number of 0 or more", flag, tolerance)};
}

// What rounding the parameters to bf16 comes to on its own: the same oracle in fp32 on the CPU.
std::vector<VerifiedTensor> rounded_alone(const Options& options) {
  const Device cpu = require(Device::open("cpu"));
  const Model model = require(Model::load(options.model, cpu, {.dtype = DType::kF32}));
  for (const NamedTensor& parameter : model.parameters()) {
    const std::int64_t elements = parameter.view.elements();
    std::vector<std::uint16_t> rounded(static_cast<std::size_t>(elements));
    convert(parameter.view.data, DType::kF32, rounded.data(), DType::kBF16, elements);
    convert(rounded.data(), DType::kBF16, parameter.view.data, DType::kF32, elements);
  }
  return require(verify_against_oracle(model, options.oracle, options.tolerances));
}

void run(const Options& options) {
  check("--tolerance", options.tolerances.values);
  check("--gradient-tolerance", options.tolerances.gradients);
  const Device device = options.device.open();
  const DType dtype = device.backend().compute_dtype();
  const bool rounds = dtype == DType::kBF16;
  const Model model = require(Model::load(options.model, device, {.dtype = dtype}));
  const std::vector<VerifiedTensor> results =
      require(verify_against_oracle(model, options.oracle, options.tolerances));
  const std::vector<VerifiedTensor> alone =
      rounds ? rounded_alone(options) : std::vector<VerifiedTensor>();
  std::size_t width = 6;
  for (const VerifiedTensor& result : results) width = std::max(width, result.name.size());
  fmt::print("{:<{}}  {:>10}  {:>10}{}\n", "tensor", width, "error", "tolerance",
             rounds ? "  rounded parameters alone" : "");
  int failed = 0;
  for (std::size_t i = 0; i < results.size(); ++i) {
    const VerifiedTensor& result = results[i];
    fmt::print("{:<{}}  {:>10.2e}  {:>10.2e}{}{}\n", result.name, width, result.error,
               result.tolerance, rounds ? fmt::format("  {:>10.2e}", alone[i].error) : "",
               result.ok() ? "" : "  FAILED");
    failed += result.ok() ? 0 : 1;
  }
  fmt::print("{} of {} tensors within tolerance on {}\n", results.size() - failed, results.size(),
             device.properties().name);
  if (failed > 0) throw Exit{kExitFailed, ""};
}

}  // namespace

void add_verify(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "verify",
      "recompute an oracle file and print the largest relative difference of each tensor");
  command->add_option("--model", options->model, "model directory (Hugging Face layout)")
      ->required();
  command->add_option("--oracle", options->oracle, "oracle file (safetensors)")->required();
  command
      ->add_option("--tolerance", options->tolerances.values,
                   "for logits, states and loss, relative to the largest magnitude")
      ->capture_default_str();
  command
      ->add_option("--gradient-tolerance", options->tolerances.gradients,
                   "for gradients, relative to the largest magnitude")
      ->capture_default_str();
  options->device.add(*command);
  command->footer(
      "On a GPU in bf16 (--precision) everything is rounded to 8 bits, many times: give "
      "--tolerance "
      "0.05 and\n--gradient-tolerance 0.25 there. The last column is what rounding the parameters "
      "alone comes to, in fp32.\n\nExit status 1 where a tensor exceeds its tolerance.\n\n"
      "Example:\n  tnl verify --model tests/data/tnl-a --oracle "
      "tests/data/tnl-a/oracle.safetensors");
  command->callback([options] { run(*options); });
}

}  // namespace tnl::command
