#include "train/config.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "core/file.h"
#include "core/json.h"
#include "core/printable.h"
#include "core/try.h"

namespace tnl {
namespace {

using Json = nlohmann::json;

constexpr std::int64_t kMostSettingsBytes = 1 << 20;
constexpr std::int64_t kMostSteps = std::int64_t{1} << 40;
constexpr std::int64_t kMostMicroBatches = std::int64_t{1} << 20;
constexpr std::int64_t kMostTokens = std::int64_t{1} << 40;
constexpr std::int64_t kMostMebibytes = std::int64_t{1} << 40;

// Each takes a value of the right type into the field, or says what it expected.
const char* take(const Json& value, std::string& field) {
  if (!value.is_string()) return "a string";
  field = value.get<std::string>();
  return nullptr;
}

const char* take(const Json& value, bool& field) {
  if (!value.is_boolean()) return "true or false";
  field = value.get<bool>();
  return nullptr;
}

const char* take(const Json& value, std::int64_t& field) {
  return take_integer(value, field) ? nullptr : "an integer below 2^63";
}

const char* take(const Json& value, std::uint64_t& field) {
  if (!value.is_number_integer() || (!value.is_number_unsigned() && value.get<std::int64_t>() < 0))
    return "an integer from 0 to 2^64 - 1";
  field = value.get<std::uint64_t>();
  return nullptr;
}

const char* take(const Json& value, double& field) {
  if (!value.is_number()) return "a number";
  field = value.get<double>();
  return nullptr;
}

Status check_at_least(const char* name, std::int64_t value, std::int64_t least, std::int64_t most) {
  if (value >= least && value <= most) return {};
  return invalid_argument(
      fmt::format("{}: found {}, expected an integer from {} to {}", name, value, least, most));
}

// least <= value <= most, or < most where `open`. Refuses NaN.
Status check_number(const char* name, double value, double least, double most, bool open = false) {
  if (value >= least && (open ? value < most : value <= most)) return {};
  const std::string upper = std::isinf(most) ? "a finite number of at least"
                                             : fmt::format("a number {} {} and at least",
                                                           open ? "below" : "of at most", most);
  return invalid_argument(fmt::format("{}: found {}, expected {} {}", name, value, upper, least));
}

Status check_source(const TrainConfig& c) {
  if (c.data.empty()) {
    return invalid_argument("data: not given, expected a directory written by `tnl data pack`");
  }
  if (!c.config.empty() && !c.init.empty()) {
    return invalid_argument(
        fmt::format("config and init: found both ('{}', '{}'), expected one of them",
                    printable(c.config), printable(c.init)));
  }
  const bool replaced = !c.config.empty() || !c.init.empty();
  if (replaced && !c.preset.empty() && c.preset != TrainConfig().preset) {
    return invalid_argument(fmt::format("preset: found '{}' together with {}, expected one of them",
                                        printable(c.preset), c.config.empty() ? "init" : "config"));
  }
  if (!replaced && c.preset.empty()) {
    return invalid_argument("preset: found none, expected a preset, a config or an init");
  }
  if (!c.init.empty() && c.paper_slopes) {
    return invalid_argument(
        "paper_slopes: found together with init, expected a new model: the decay of a trained one "
        "is part of it");
  }
  return {};
}

Status check_optimizer(const TrainConfig& c) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  TNL_TRY(check_number("learning_rate", c.learning_rate, 0, kInfinity, true));
  const bool tenth = c.min_learning_rate == -1;
  if (!tenth && !(c.min_learning_rate >= 0 && c.min_learning_rate <= c.learning_rate)) {
    return invalid_argument(fmt::format(
        "min_learning_rate: found {}, expected -1 or a number from 0 to learning_rate ({})",
        c.min_learning_rate, c.learning_rate));
  }
  TNL_TRY(check_at_least("warmup_steps", c.warmup_steps, 0, kMostSteps));
  if (c.recompute != "none" && c.recompute != "selective" && c.recompute != "full") {
    return invalid_argument(
        fmt::format("recompute: found '{}', expected none, selective or full", c.recompute));
  }
  if (c.schedule != "cosine" && c.schedule != "wsd") {
    return invalid_argument(
        fmt::format("schedule: found '{}', expected cosine or wsd", printable(c.schedule)));
  }
  TNL_TRY(check_number("wsd_decay", c.wsd_decay, 0, 1));
  TNL_TRY(check_number("beta1", c.beta1, 0, 1, true));
  TNL_TRY(check_number("beta2", c.beta2, 0, 1, true));
  if (!(c.epsilon > 0) || std::isinf(c.epsilon)) {
    return invalid_argument(
        fmt::format("epsilon: found {}, expected a finite number above 0", c.epsilon));
  }
  TNL_TRY(check_number("weight_decay", c.weight_decay, 0, kInfinity, true));
  return check_number("clip", c.clip, 0, kInfinity, true);
}

}  // namespace

std::string_view nearest_name(std::string_view name, const std::vector<std::string_view>& known) {
  const auto distance = [&](std::string_view other) {  // Levenshtein, one row at a time
    std::vector<std::size_t> row(other.size() + 1);
    for (std::size_t j = 0; j < row.size(); ++j) row[j] = j;
    for (std::size_t i = 1; i <= name.size(); ++i) {
      std::size_t diagonal = row[0];
      row[0] = i;
      for (std::size_t j = 1; j <= other.size(); ++j) {
        const std::size_t replaced = diagonal + (name[i - 1] == other[j - 1] ? 0 : 1);
        diagonal = row[j];
        row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
      }
    }
    return row.back();
  };
  std::string_view best;
  std::size_t least = std::numeric_limits<std::size_t>::max();
  for (const std::string_view candidate : known) {
    const std::size_t edits = distance(candidate);
    if (edits < least) {
      least = edits;
      best = candidate;
    }
  }
  return best;
}

Result<TrainConfig> read_train_config(const std::filesystem::path& path) {
  TNL_ASSIGN(const std::string content, read_file(path, kMostSettingsBytes));
  const Json json = parse_json(content);
  if (!json.is_object()) {
    return invalid_argument(fmt::format("{}: found {}, expected a JSON object of settings",
                                        path.string(),
                                        json.is_discarded() ? "no valid JSON" : shown(json)));
  }
  TrainConfig config;
  std::vector<std::string_view> known;
  visit_train_config(config, [&](const char* name, auto&, const char*) { known.push_back(name); });
  for (const auto& [key, value] : json.items()) {
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    return invalid_argument(fmt::format("{}: unknown setting '{}'; the nearest known one is '{}'",
                                        path.string(), printable(key),
                                        nearest_name(key.substr(0, 60), known)));
  }
  Status status;
  visit_train_config(config, [&](const char* name, auto& field, const char*) {
    const auto entry = json.find(name);
    if (entry == json.end() || !status.ok()) return;
    if (const char* expected = take(*entry, field)) {
      status = invalid_argument(fmt::format("{}: {}: found {}, expected {}", path.string(), name,
                                            shown(*entry), expected));
    }
  });
  TNL_TRY(status);
  if (!json.contains("preset") && (!config.config.empty() || !config.init.empty())) {
    config.preset.clear();
  }
  return config;
}

std::string train_config_json(const TrainConfig& config) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  visit_train_config(config,
                     [&](const char* name, const auto& field, const char*) { json[name] = field; });
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

Status validate(const TrainConfig& c) {
  TNL_TRY(check_source(c));
  TNL_TRY(check_at_least("steps", c.steps, 1, kMostSteps));
  TNL_TRY(check_at_least("sequence_length", c.sequence_length, 1, kMostTokens));
  TNL_TRY(check_at_least("batch_tokens", c.batch_tokens, 1, kMostTokens));
  if (!c.whole_documents && c.sequence_length > c.batch_tokens) {
    return invalid_argument(
        fmt::format("sequence_length: found {}, expected at most batch_tokens ({})",
                    c.sequence_length, c.batch_tokens));
  }
  TNL_TRY(check_at_least("accumulate", c.accumulate, 1, kMostMicroBatches));
  TNL_TRY(check_at_least("sequence_chunk", c.sequence_chunk, 0, kMostTokens));
  TNL_TRY(check_at_least("state_memory", c.state_memory, 0, kMostMebibytes));
  TNL_TRY(check_optimizer(c));
  TNL_TRY(check_at_least("eval_every", c.eval_every, 0, kMostSteps));
  TNL_TRY(check_at_least("eval_tokens", c.eval_tokens, 0, kMostTokens));
  TNL_TRY(check_at_least("checkpoint_every", c.checkpoint_every, 0, kMostSteps));
  return check_at_least("keep_checkpoints", c.keep_checkpoints, 1, kMostSteps);
}

}  // namespace tnl
