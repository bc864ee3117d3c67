// config.json of a model.
#include "fuzz/support.h"
#include "tnl/model.h"

namespace tnl::fuzz {
namespace {

void read(std::string_view input) {
  workplace().write("config.json", input);
  Result<ModelConfig> config = not_found("");
  {
    const AllocationLimit limit(input.size());
    config = read_model_config(workplace().path(""));
  }
  if (!config.ok()) return check_sentence(config.status());
  FUZZ_CHECK(config->validate().ok());
  // What a model of this size would need is counted, not taken.
  FUZZ_CHECK(config->parameter_count() > 0);
  if (config->heads < 10000) FUZZ_CHECK(config->log_decay(config->layers - 1).size() > 0);
  FUZZ_CHECK(write_model_config(*config, DType::kF32, workplace().path("")).ok());
  const std::string written = workplace().read("config.json");
  const Result<ModelConfig> again = read_model_config(workplace().path(""));
  FUZZ_CHECK(again.ok());
  FUZZ_CHECK(write_model_config(*again, DType::kF32, workplace().path("")).ok());
  FUZZ_CHECK(workplace().read("config.json") == written);
}

}  // namespace
}  // namespace tnl::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  tnl::fuzz::read(tnl::fuzz::text_of(data, size));
  return 0;
}
