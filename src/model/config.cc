#include <bit>
#include <cmath>

#include <fmt/format.h>

#include "core/try.h"
#include "model/layout.h"
#include "tnl/model.h"

namespace tnl {
namespace {

constexpr std::int64_t kMostLayers = 10000;
constexpr std::int64_t kMostExtent = std::int64_t{1} << 24;

Status check_range(const char* field, std::int64_t value, std::int64_t least, std::int64_t most) {
  if (value >= least && value <= most) return {};
  return invalid_argument(
      fmt::format("configuration: {}: found {}, expected {} to {}", field, value, least, most));
}

Status check_id(const char* field, std::int64_t id, std::int64_t vocab_size) {
  if (id >= -1 && id < vocab_size) return {};
  return invalid_argument(fmt::format(
      "configuration: {}: found {}, expected an id below vocab_size = {}", field, id, vocab_size));
}

// Each extent may be in its range and the whole beyond any number that is counted with.
Status check_size(const ModelConfig& config) {
  constexpr double kMost = 0x1p50;
  double count = 0;
  for (const ParameterSpec& spec : parameter_layout(config)) {
    count += static_cast<double>(spec.elements());
  }
  if (count <= kMost) return {};
  return invalid_argument(fmt::format(
      "configuration: found a model of {:.3g} parameters, expected at most 2^50", count));
}

// ALiBi slopes: 2^(-8 (h + 1) / H) for a power of two; else those of the next smaller power p, then
// every other one of 2 p.
std::vector<double> released_slopes(std::int64_t heads) {
  const auto power = static_cast<std::int64_t>(std::bit_floor(static_cast<std::uint64_t>(heads)));
  std::vector<double> slopes;
  for (std::int64_t h = 0; h < power; ++h) {
    slopes.push_back(std::exp2(-8.0 * static_cast<double>(h + 1) / static_cast<double>(power)));
  }
  for (std::int64_t i = 0; static_cast<std::int64_t>(slopes.size()) < heads; i += 2) {
    slopes.push_back(std::exp2(-8.0 * static_cast<double>(i + 1) / static_cast<double>(2 * power)));
  }
  return slopes;
}

}  // namespace

Status ModelConfig::validate() const {
  TNL_TRY(check_range("vocab_size", vocab_size, 1, kMostExtent));
  TNL_TRY(check_range("decoder_embed_dim", width, 1, kMostExtent));
  TNL_TRY(check_range("decoder_layers", layers, 1, kMostLayers));
  TNL_TRY(check_range("decoder_attention_heads", heads, 1, kMostExtent));
  TNL_TRY(check_range("hidden_dim", hidden, 1, kMostExtent));
  TNL_TRY(check_range("glu_dim", glu, 1, kMostExtent));
  if (generation == Generation::kTnl3) TNL_TRY(check_range("gate_dim", gate, 1, kMostExtent));
  if (hidden % heads != 0) {
    return invalid_argument(fmt::format(
        "configuration: hidden_dim: found {}, expected a multiple of decoder_attention_heads = {}",
        hidden, heads));
  }
  if (static_cast<std::int64_t>(lrpe.size()) != layers) {
    return invalid_argument(
        fmt::format("configuration: linear_use_lrpe_list: found {} entries, expected one for each "
                    "of {} layers",
                    lrpe.size(), layers));
  }
  TNL_TRY(check_id("pad_token_id", pad_id, vocab_size));
  TNL_TRY(check_id("bos_token_id", bos_id, vocab_size));
  TNL_TRY(check_id("eos_token_id", eos_id, vocab_size));
  if (!std::isfinite(init_std) || init_std < 0) {
    return invalid_argument(
        fmt::format("configuration: init_std: found {}, expected 0 or more", init_std));
  }
  if (!std::isfinite(norm_eps) || norm_eps <= 0) {
    return invalid_argument(
        fmt::format("configuration: tnl_norm_eps: found {}, expected more than 0", norm_eps));
  }
  if (!std::isfinite(attention_scale)) {
    return invalid_argument("configuration: tnl_attention_scale: expected a finite number");
  }
  return check_size(*this);
}

std::int64_t ModelConfig::parameter_count() const {
  std::int64_t count = 0;
  for (const ParameterSpec& spec : parameter_layout(*this)) count += spec.elements();
  return count;
}

std::vector<float> ModelConfig::log_decay(std::int64_t layer) const {
  const auto l = static_cast<double>(layer);
  const auto depth = static_cast<double>(layers);
  std::vector<float> result;
  if (slopes == SlopeSchedule::kPaperLinear) {
    for (std::int64_t h = 0; h < heads; ++h) {
      const double slope = 8.0 * static_cast<double>(h) / static_cast<double>(heads);
      result.push_back(static_cast<float>(-slope * (1.0 - l / depth)));
    }
    return result;
  }
  // The released code divides by layers - 1; a single layer decays at full slope.
  const double factor = layers == 1 ? 1.0 : 1.0 - l / (depth - 1.0) + 1e-5;
  for (const double slope : released_slopes(heads)) {
    result.push_back(static_cast<float>(-slope * factor));
  }
  return result;
}

}  // namespace tnl
