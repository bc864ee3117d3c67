// config.json in the form of the released checkpoints.
#include <algorithm>
#include <optional>

#include <fmt/format.h>
#include "core/file.h"
#include "core/json.h"
#include "core/try.h"
#include "tnl/model.h"

namespace tnl {
namespace {

using Json = nlohmann::json;

constexpr std::int64_t kMostConfigBytes = 1 << 20;

// Reads typed fields of one JSON object; the first that has the wrong type is remembered.
class FieldReader {
 public:
  FieldReader(const Json& object, std::string file) : object_(object), file_(std::move(file)) {}

  std::int64_t integer(const char* key, std::optional<std::int64_t> fallback) {
    const Json* value = find(key);
    if (value == nullptr) return absent(key, fallback);
    std::int64_t result = 0;
    if (!take_integer(*value, result)) wrong(key, "an integer below 2^63", *value);
    return result;
  }

  // null and absence both mean `fallback`; null means none (-1) for ids.
  std::int64_t id(const char* key, std::int64_t fallback) {
    const auto position = object_.find(key);
    if (position != object_.end() && position->is_null()) return -1;
    return integer(key, fallback);
  }

  double number(const char* key, double fallback) {
    const Json* value = find(key);
    if (value == nullptr) return fallback;
    if (!value->is_number()) return wrong(key, "a number", *value), 0;
    return value->get<double>();
  }

  bool boolean(const char* key, bool fallback) {
    const Json* value = find(key);
    if (value == nullptr) return fallback;
    if (!value->is_boolean()) return wrong(key, "true or false", *value), false;
    return value->get<bool>();
  }

  std::string text(const char* key, const char* fallback) {
    const Json* value = find(key);
    if (value == nullptr) return fallback;
    if (!value->is_string()) return wrong(key, "a string", *value), "";
    return value->get<std::string>();
  }

  std::vector<std::uint8_t> flags(const char* key) {
    std::vector<std::uint8_t> result;
    const Json* value = find(key);
    if (value == nullptr) return result;
    if (!value->is_array()) return wrong(key, "a list of 0 and 1", *value), result;
    for (const Json& entry : *value) {
      const bool flag =
          entry.is_boolean() || (entry.is_number_integer() && (entry == 0 || entry == 1));
      if (!flag) return wrong(key, "a list of 0 and 1", entry), result;
      result.push_back(entry.is_boolean() ? entry.get<bool>() : entry == 1);
    }
    return result;
  }

  bool has(const char* key) const { return object_.contains(key); }

  void wrong(const char* key, const char* expected, const Json& found) {
    if (!status_.ok()) return;
    status_ = invalid_argument(
        fmt::format("{}: {}: found {}, expected {}", file_, key, shown(found), expected));
  }

  const Status& status() const { return status_; }

 private:
  const Json* find(const char* key) const {
    const auto position = object_.find(key);
    return position == object_.end() || position->is_null() ? nullptr : &*position;
  }

  std::int64_t absent(const char* key, std::optional<std::int64_t> fallback) {
    if (!fallback && status_.ok()) {
      status_ =
          invalid_argument(fmt::format("{}: {}: found nothing, expected an integer", file_, key));
    }
    return fallback.value_or(0);
  }

  const Json& object_;
  std::string file_;
  Status status_;
};

// Fields whose other values the architecture does not have here.
void require_supported(FieldReader& fields) {
  if (fields.boolean("bias", false))
    fields.wrong("bias", "false (no released model has biases)", true);
  const std::string norm = fields.text("norm_type", "simplermsnorm");
  if (norm != "simplermsnorm") fields.wrong("norm_type", "\"simplermsnorm\"", norm);
  const std::string type = fields.text("model_type", "transnormer");
  if (type != "transnormer") fields.wrong("model_type", "\"transnormer\"", type);
}

}  // namespace

Result<ModelConfig> read_model_config(const std::filesystem::path& directory) {
  const std::filesystem::path path = directory / "config.json";
  TNL_ASSIGN(const std::string content, read_file(path, kMostConfigBytes));
  const Json json = parse_json(content);
  if (json.is_discarded() || !json.is_object()) {
    return invalid_argument(
        fmt::format("{}: found no JSON object, expected a model configuration", path.string()));
  }
  FieldReader fields(json, path.string());
  require_supported(fields);
  ModelConfig config;
  config.generation = fields.has("gate_dim") ? Generation::kTnl3 : Generation::kTnl;
  config.vocab_size = fields.integer("vocab_size", std::nullopt);
  config.width = fields.integer("decoder_embed_dim", std::nullopt);
  config.layers = fields.integer("decoder_layers", std::nullopt);
  config.heads = fields.integer("decoder_attention_heads", std::nullopt);
  config.hidden = fields.integer("hidden_dim", config.width);
  config.glu = fields.integer("glu_dim", -1);
  if (config.glu == -1) config.glu = config.width;
  config.gate = fields.integer("gate_dim", 16);
  const std::string activation = fields.text("linear_act_fun", "silu");
  config.silu = activation != "none";
  if (config.silu && activation != "silu" && activation != "swish") {
    fields.wrong("linear_act_fun", "\"silu\", \"swish\" or \"none\"", activation);
  }
  config.scale_embedding = !fields.boolean("no_scale_embedding", false);
  config.tie_embeddings = fields.boolean("tie_word_embeddings",
                                         fields.boolean("share_decoder_input_output_embed", true));
  config.lrpe = fields.flags("linear_use_lrpe_list");
  if (config.lrpe.empty() && config.layers > 0 && config.layers < 1 << 20) {
    config.lrpe.assign(static_cast<std::size_t>(config.layers), 0);
  }
  config.pad_id = fields.id("pad_token_id", 0);
  config.bos_id = fields.id("bos_token_id", 1);
  config.eos_id = fields.id("eos_token_id", 2);
  config.init_std = fields.number("init_std", 0.02);
  config.norm_eps = fields.number("tnl_norm_eps", 1e-6);
  config.attention_scale = fields.number("tnl_attention_scale", 1.0);
  const std::string slopes = fields.text("tnl_slopes", "released");
  if (slopes == "paper-linear") {
    config.slopes = SlopeSchedule::kPaperLinear;
  } else if (slopes != "released") {
    fields.wrong("tnl_slopes", "\"released\" or \"paper-linear\"", slopes);
  }
  TNL_TRY(fields.status());
  if (const Status status = config.validate(); !status.ok()) {
    return invalid_argument(fmt::format("{}: {}", path.string(), status.message()));
  }
  return config;
}

Status write_model_config(const ModelConfig& config, DType dtype,
                          const std::filesystem::path& directory) {
  const auto id = [](std::int64_t value) { return value < 0 ? Json(nullptr) : Json(value); };
  Json json = {
      {"architectures", {"TransnormerForCausalLM"}},
      {"model_type", "transnormer"},
      {"vocab_size", config.vocab_size},
      {"decoder_embed_dim", config.width},
      {"decoder_layers", config.layers},
      {"decoder_attention_heads", config.heads},
      {"hidden_dim", config.hidden},
      {"glu_dim", config.glu},
      {"linear_act_fun", config.silu ? "silu" : "none"},
      {"linear_use_lrpe_list", config.lrpe},
      {"norm_type", "simplermsnorm"},
      {"no_scale_embedding", !config.scale_embedding},
      {"tie_word_embeddings", config.tie_embeddings},
      {"bias", false},
      {"add_bos_token", false},
      {"pad_token_id", id(config.pad_id)},
      {"bos_token_id", id(config.bos_id)},
      {"eos_token_id", id(config.eos_id)},
      {"init_std", config.init_std},
      {"torch_dtype", dtype == DType::kBF16  ? "bfloat16"
                      : dtype == DType::kF16 ? "float16"
                                             : "float32"},
  };
  // Written only where they differ, so that other readers of the format are not misled.
  const ModelConfig standard;
  if (config.generation == Generation::kTnl3) json["gate_dim"] = config.gate;
  if (config.norm_eps != standard.norm_eps) json["tnl_norm_eps"] = config.norm_eps;
  if (config.attention_scale != standard.attention_scale) {
    json["tnl_attention_scale"] = config.attention_scale;
  }
  if (config.slopes == SlopeSchedule::kPaperLinear) json["tnl_slopes"] = "paper-linear";
  return write_file(directory / "config.json", json.dump(2) + "\n");
}

}  // namespace tnl
