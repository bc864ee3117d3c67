// model.safetensors.index.json beside the shards of a small model, one of which holds the input's
// second part.
#include "fuzz/support.h"
#include "tnl/device.h"
#include "tnl/model.h"

namespace tnl::fuzz {
namespace {

ModelConfig small() {
  ModelConfig config;
  config.vocab_size = 5;
  config.width = config.hidden = config.glu = 4;
  config.layers = config.heads = 1;
  config.lrpe = {1};
  return config;
}

// Writes the model in two shards, once.
std::string prepare() {
  const Result<Device> device = Device::open("cpu", {.threads = 1, .cpu_target = "generic"});
  FUZZ_CHECK(device.ok());
  const Result<Model> model = Model::create(small(), *device, 1);
  FUZZ_CHECK(model.ok() && model->save(workplace().path("model"), DType::kF32, 400).ok());
  return workplace().read("model/model-00002-of-00002.safetensors");
}

void read(std::string_view input) {
  static const std::string shard = prepare();
  const std::size_t bytes = input.size();
  workplace().write("model/model.safetensors.index.json", take_part(input));
  workplace().write("model/model-00002-of-00002.safetensors",
                    input.empty() ? std::string_view(shard) : input);
  const AllocationLimit limit(bytes);
  const Result<ModelSummary> summary = inspect_model(workplace().path("model"));
  if (!summary.ok()) return check_sentence(summary.status());
  FUZZ_CHECK(summary->config.vocab_size == 5);
}

}  // namespace
}  // namespace tnl::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  tnl::fuzz::read(tnl::fuzz::text_of(data, size));
  return 0;
}
