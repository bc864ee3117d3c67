#include "tnl/bench_model.h"

#include <algorithm>

#include "core/convert.h"
#include "core/rng.h"
#include "model/model_impl.h"

namespace tnl::command {

void ModelShape::add(CLI::App& command) {
  command.add_option("--preset", preset, "the model's shape; its parameters are random")
      ->capture_default_str();
  command.add_flag("--untied", untied, "a head of its own in place of the embedding");
  command.add_flag("--no-lrpe", no_lrpe, "no LRPE in any layer");
}

ModelConfig ModelShape::config() const {
  ModelConfig config = require(find_preset(preset)).config;
  if (untied) config.tie_embeddings = false;
  if (no_lrpe) config.lrpe.assign(config.lrpe.size(), 0);
  return config;
}

Model random_model(const ModelConfig& config, const Device& device, DType dtype) {
  Model model = Model::share(require(Model::Impl::allocate(config, device, dtype)));
  std::vector<float> numbers(std::size_t{1} << 20);
  Rng rng(1);
  for (float& number : numbers) number = static_cast<float>(config.init_std * rng.normal());
  std::vector<std::byte> stored(numbers.size() * static_cast<std::size_t>(dtype_size(dtype)));
  convert(numbers.data(), DType::kF32, stored.data(), dtype,
          static_cast<std::int64_t>(numbers.size()));
  const DeviceBuffer& memory = model.impl().memory;
  for (std::size_t done = 0; done < memory.bytes(); done += stored.size()) {
    require(device.upload(static_cast<char*>(memory.data()) + done, stored.data(),
                          std::min(stored.size(), memory.bytes() - done)));
  }
  return model;
}

}  // namespace tnl::command
