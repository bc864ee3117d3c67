#include "tnl/bench_attention_input.h"

#include <charconv>
#include <string_view>

#include <fmt/format.h>

#include "core/rng.h"
#include "tnl/cli.h"
#include "tnl/model.h"

namespace tnl::command {
namespace {

constexpr std::int64_t kMostExtent = std::int64_t{1} << 31;

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const std::size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

template <class Number>
bool parse(std::string_view text, Number& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

AttentionShape parse_extents(const std::string& text) {
  std::vector<std::int64_t> extents;
  for (const std::string_view part : split(text, 'x')) {
    std::int64_t extent = 0;
    if (!parse(part, extent) || extent < 1 || extent > kMostExtent) {
      extents.clear();
      break;
    }
    extents.push_back(extent);
  }
  if (extents.size() != 4 && extents.size() != 5) {
    require(invalid_argument(
        fmt::format("--shapes: found '{}', expected BxTxHxK or BxTxHxKxV with numbers from 1 to {}",
                    text, kMostExtent)));
  }
  const AttentionShape shape{extents[0], extents[1], extents[2], extents[3], extents.back(), {}};
  double elements = 1;
  for (const std::int64_t extent : extents) elements *= static_cast<double>(extent);
  if (elements > 1e15) {
    require(invalid_argument(fmt::format(
        "--shapes: found '{}', expected a shape that fits into the memory of a machine", text)));
  }
  return shape;
}

std::vector<std::int64_t> parse_lengths(const std::string& text) {
  std::vector<std::int64_t> offsets = {0};
  for (const std::string_view part : split(text, ',')) {
    std::int64_t length = 0;
    if (!parse(part, length) || length < 0 || length > kMostExtent) {
      require(invalid_argument(
          fmt::format("--varlen: found '{}', expected lengths from 0 to {}", text, kMostExtent)));
    }
    offsets.push_back(offsets.back() + length);
  }
  return offsets;
}

// B lengths from T/2 to 3T/2, B * T in all: what one gets more, its neighbour gets less.
std::vector<std::int64_t> draw_lengths(const AttentionShape& shape) {
  Rng rng(1);
  std::vector<std::int64_t> offsets = {0};
  for (std::int64_t n = 0; n < shape.batch; n += 2) {
    const std::int64_t shift =
        n + 1 < shape.batch ? static_cast<std::int64_t>(rng.below(shape.tokens / 2 + 1)) : 0;
    offsets.push_back(offsets.back() + shape.tokens + shift);
    if (n + 1 < shape.batch) offsets.push_back(offsets.back() + shape.tokens - shift);
  }
  return offsets;
}

}  // namespace

AttentionShape parse_attention_shape(const std::string& text, const std::string& varlen) {
  AttentionShape shape = parse_extents(text);
  if (!varlen.empty()) {
    shape.cu_seqlens = varlen == "drawn" ? draw_lengths(shape) : parse_lengths(varlen);
  }
  return shape;
}

std::vector<float> attention_decays(const std::string& slopes, std::int64_t heads) {
  if (slopes == "zero") return std::vector<float>(heads, 0.0f);
  if (slopes == "first" || slopes == "half") {
    ModelConfig config;
    config.heads = heads;
    config.layers = 3;
    return config.log_decay(slopes == "first" ? 0 : 1);
  }
  std::vector<float> result;
  for (const std::string_view part : split(slopes, ',')) {
    float slope = 0;
    if (!parse(part, slope) || !(slope >= 0)) {
      require(invalid_argument(
          fmt::format("--slopes: found '{}', expected first, half, zero or numbers >= 0", slopes)));
    }
    result.push_back(-slope);
  }
  if (result.size() == 1) result.assign(heads, result[0]);
  if (static_cast<std::int64_t>(result.size()) != heads) {
    require(invalid_argument(
        fmt::format("--slopes: found {} numbers, expected 1 or one for each of {} heads",
                    result.size(), heads)));
  }
  return result;
}

DType parse_attention_dtype(const std::string& name) {
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16, DType::kF64}) {
    if (dtype_name(dtype) == name) return dtype;
  }
  throw Exit{kExitBadInput, fmt::format("--dtype: found '{}'", name)};
}

}  // namespace tnl::command
