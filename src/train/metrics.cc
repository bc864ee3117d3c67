#include "train/metrics.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "core/file.h"
#include "core/json.h"
#include "core/printable.h"
#include "core/try.h"

namespace tnl {
namespace {

using Json = nlohmann::json;

double number(const Json& json, const char* key, double fallback) {
  const auto value = json.find(key);
  if (value == json.end()) return fallback;
  return value->is_number() ? value->get<double>() : std::numeric_limits<double>::quiet_NaN();
}

std::optional<MetricsLine> parse_line(std::string_view text) {
  const Json json = parse_json(text);
  if (!json.is_object()) return std::nullopt;
  std::int64_t step = 0;
  if (!json.contains("step") || !take_integer(json["step"], step)) return std::nullopt;
  std::int64_t tokens = 0;
  if (json.contains("tokens") && (!take_integer(json["tokens"], tokens) || tokens < 0)) tokens = 0;
  const auto skipped = json.find("skipped");
  constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
  return MetricsLine{.step = step,
                     .tokens = tokens,
                     .loss = number(json, "loss", kNone),
                     .learning_rate = number(json, "learning_rate", kNone),
                     .gradient_norm = number(json, "gradient_norm", kNone),
                     .tokens_per_second = number(json, "tokens_per_second", kNone),
                     .seconds = number(json, "seconds", kNone),
                     .skipped = skipped != json.end() && *skipped == true,
                     .held_out_loss = number(json, "held_out_loss", -1),
                     .held_out_bits_per_byte = number(json, "held_out_bits_per_byte", -1)};
}

std::string format_line(const MetricsLine& line) {
  nlohmann::ordered_json json = {{"step", line.step},
                                 {"tokens", line.tokens},
                                 {"loss", line.loss},
                                 {"learning_rate", line.learning_rate},
                                 {"gradient_norm", line.gradient_norm},
                                 {"tokens_per_second", std::round(line.tokens_per_second)},
                                 {"seconds", std::round(line.seconds * 1000) / 1000}};
  if (line.skipped) json["skipped"] = true;
  if (!(line.held_out_loss < 0)) json["held_out_loss"] = line.held_out_loss;
  if (!(line.held_out_bits_per_byte < 0))
    json["held_out_bits_per_byte"] = line.held_out_bits_per_byte;
  return json.dump() + "\n";  // writes null for what is not finite
}

Status refused(const char* verb, const std::filesystem::path& path) {
  return io_error(fmt::format("cannot {} {}: {}", verb, path.string(), strerror(errno)));
}

}  // namespace

Result<MetricsLog> MetricsLog::open(const std::filesystem::path& path, std::int64_t last_step) {
  std::string content;
  std::error_code error;
  if (std::filesystem::exists(path, error)) {
    TNL_ASSIGN(content, read_file(path, std::numeric_limits<std::int64_t>::max()));
  }
  std::size_t kept = 0;
  std::int64_t step = 0;
  for (std::size_t end; (end = content.find('\n', kept)) != std::string::npos; kept = end + 1) {
    const auto line = parse_line(std::string_view(content).substr(kept, end - kept));
    if (!line || line->step > last_step || line->step <= step) break;
    step = line->step;
  }
  const int descriptor = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (descriptor < 0) return refused("write", path);
  MetricsLog log(path, descriptor, step);
  if (::ftruncate(descriptor, static_cast<off_t>(kept)) != 0) return refused("write", path);
  return log;
}

MetricsLog::MetricsLog(MetricsLog&& other) noexcept
    : path_(std::move(other.path_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      last_step_(other.last_step_) {}

MetricsLog::~MetricsLog() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

Status MetricsLog::append(const MetricsLine& line) {
  const std::string text = format_line(line);
  std::string_view rest = text;
  while (!rest.empty()) {
    const ssize_t count = ::write(descriptor_, rest.data(), rest.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return refused("write", path_);
    rest.remove_prefix(static_cast<std::size_t>(count));
  }
  last_step_ = line.step;
  return {};
}

Status MetricsLog::sync() {
  return ::fsync(descriptor_) == 0 ? Status() : refused("write", path_);
}

Result<std::vector<MetricsLine>> read_metrics(const std::filesystem::path& path) {
  TNL_ASSIGN(const std::string whole, read_file(path));  // a map would break if it is cut meanwhile
  const std::string_view content = whole;
  std::vector<MetricsLine> lines;
  std::size_t begin = 0;
  for (std::size_t end; (end = content.find('\n', begin)) != std::string_view::npos;
       begin = end + 1) {
    const auto line = parse_line(content.substr(begin, end - begin));
    if (!line) {
      return invalid_argument(
          fmt::format("{}: line {}: found '{}', expected a JSON object with a step", path.string(),
                      lines.size() + 1, printable(content.substr(begin, end - begin), 40)));
    }
    lines.push_back(*line);
  }
  return lines;
}

}  // namespace tnl
