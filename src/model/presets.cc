#include <fmt/format.h>

#include "tnl/model.h"

namespace tnl {
namespace {

ModelConfig tnl_config(std::int64_t width, std::int64_t layers, std::int64_t heads,
                       std::int64_t glu, std::int64_t vocab_size) {
  ModelConfig config;
  config.vocab_size = vocab_size;
  config.width = width;
  config.layers = layers;
  config.heads = heads;
  config.hidden = width;
  config.glu = glu;
  config.lrpe.assign(static_cast<std::size_t>(layers), 0);
  config.lrpe[0] = 1;
  return config;
}

std::vector<Preset> make_presets() {
  std::vector<Preset> list;
  ModelConfig config = tnl_config(256, 6, 4, 704, 4096);
  config.pad_id = -1;
  list.push_back({"6m", config, "ours, for CPUs and first steps; all values derived"});

  config = tnl_config(512, 6, 4, 1152, 50257);
  config.pad_id = config.bos_id = -1;
  config.eos_id = 50256;
  list.push_back({"44m", config, "ours, GPT-2 vocabulary (published); all other values derived"});

  list.push_back({"385m", tnl_config(1024, 24, 8, 2816, 64000),
                  "published: all values (defaults of the released configuration); LRPE in layer "
                  "0 from the paper"});
  list.push_back({"1b", tnl_config(2048, 16, 16, 5632, 64000),
                  "published: vocabulary, head_dim 128; width, layers, heads and glu derived from "
                  "the parameter count 1.02 B"});
  list.push_back({"7b", tnl_config(4096, 30, 32, 11008, 64000),
                  "published: all values (printed model of the released checkpoint)"});

  config = tnl_config(5120, 42, 40, 15360, 100280);
  config.generation = Generation::kTnl3;
  config.gate = 16;
  config.pad_id = 100262;
  config.bos_id = 100261;
  config.eos_id = 100257;
  list.push_back({"15b", config,
                  "published: width, layers, heads, LRPE; glu derived from the parameter count "
                  "14.83 B; gate and vocabulary from the 410M of the same generation"});
  return list;
}

}  // namespace

const std::vector<Preset>& presets() {
  static const std::vector<Preset> list = make_presets();
  return list;
}

Result<Preset> find_preset(std::string_view name) {
  std::string known;
  for (const Preset& preset : presets()) {
    if (preset.name == name) return preset;
    known += (known.empty() ? "" : ", ") + preset.name;
  }
  return invalid_argument(fmt::format("preset: found '{}', expected one of {}", name, known));
}

}  // namespace tnl
