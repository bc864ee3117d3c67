#include "text/tiktoken.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>

#include "core/file.h"
#include "core/json.h"
#include "core/try.h"

namespace tnl {
namespace {

using Json = nlohmann::json;

constexpr std::int64_t kLargestFile = std::int64_t{1} << 26;
constexpr std::int64_t kLargestConfig = std::int64_t{1} << 20;
constexpr std::size_t kLongestToken = 1024;
constexpr std::int64_t kLargestGap = 4096;  // ids beyond the number of tokens

class Base64 {
 public:
  Base64() {
    values_.fill(-1);
    constexpr std::string_view kDigits =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (std::size_t i = 0; i < kDigits.size(); ++i) {
      values_[static_cast<unsigned char>(kDigits[i])] = static_cast<std::int8_t>(i);
    }
  }
  // Nothing where `text` is not padded base64.
  std::optional<std::string> decode(std::string_view text) const {
    if (text.size() % 4 != 0) return std::nullopt;
    for (int padding = 0; padding < 2 && text.ends_with('='); ++padding) text.remove_suffix(1);
    std::string bytes;
    std::uint32_t bits = 0;
    int count = 0;
    for (const char digit : text) {
      const int value = values_[static_cast<unsigned char>(digit)];
      if (value < 0) return std::nullopt;
      bits = bits << 6 | static_cast<std::uint32_t>(value);
      count += 6;
      if (count < 8) continue;
      count -= 8;
      bytes.push_back(static_cast<char>(bits >> count & 0xffu));
    }
    return bytes;
  }

 private:
  std::array<std::int8_t, 256> values_;
};

struct Ranks {
  std::vector<std::pair<std::string, std::int64_t>> tokens;
  std::int64_t size = 0;  // largest rank + 1
};

Result<Ranks> read_ranks(std::string_view text) {
  const Base64 base64;
  Ranks ranks;
  for (std::size_t number = 1; !text.empty(); ++number) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) continue;
    const std::size_t space = line.find(' ');
    std::int64_t rank = -1;
    if (space != std::string_view::npos) {
      const auto [rest, error] =
          std::from_chars(line.data() + space + 1, line.data() + line.size(), rank);
      if (error != std::errc() || rest != line.data() + line.size()) rank = -1;
    }
    std::optional<std::string> token;
    if (rank >= 0) token = base64.decode(line.substr(0, space));
    if (!token || token->empty() || token->size() > kLongestToken) {
      return invalid_argument(
          fmt::format("line {}: expected a token of 1 to {} bytes in base64, a space and its rank",
                      number, kLongestToken));
    }
    ranks.tokens.emplace_back(std::move(*token), rank);
    ranks.size = std::max(ranks.size, rank + 1);
  }
  const auto most = static_cast<std::int64_t>(ranks.tokens.size()) + kLargestGap;
  if (ranks.size <= most) return ranks;
  return invalid_argument(fmt::format("found the rank {} among {} tokens, expected less than {}",
                                      ranks.size - 1, ranks.tokens.size(), most));
}

// What the published vocabularies have beside their ranks.
Result<Json> known_config(std::size_t ranks) {
  if (ranks == 100256) {
    return Json{{"words", "cl100k"},
                {"special_tokens",
                 {{"<|endoftext|>", 100257},
                  {"<|fim_prefix|>", 100258},
                  {"<|fim_middle|>", 100259},
                  {"<|fim_suffix|>", 100260},
                  {"<|endofprompt|>", 100276}}},
                {"bos_token", "<|endoftext|>"},
                {"eos_token", "<|endoftext|>"}};
  }
  if (ranks == 50256) {
    return Json{{"words", "gpt2"},
                {"special_tokens", {{"<|endoftext|>", 50256}}},
                {"bos_token", "<|endoftext|>"},
                {"eos_token", "<|endoftext|>"}};
  }
  return invalid_argument(fmt::format(
      "{} ranks are no vocabulary known by its size: expected a file {} beside it, such as "
      "{{\"words\": \"cl100k\", \"special_tokens\": {{\"<|endoftext|>\": {}}}, \"eos_token\": "
      "\"<|endoftext|>\"}}",
      ranks, kTiktokenConfigFile, ranks));
}

Status read_words(const Json& config, ByteLevelBpe& bpe) {
  const Json words = config.value("words", Json("cl100k"));
  if (words != "cl100k" && words != "gpt2") {
    return invalid_argument(
        fmt::format("words is {}, expected \"cl100k\" or \"gpt2\"", shown(words)));
  }
  bpe.words = words == "gpt2" ? WordRule::kGpt2 : WordRule::kCl100kTail;
  return {};
}

// Their ids, and bos and eos.
Status read_specials(const Json& config, ByteLevelBpe& bpe, std::vector<bool>& taken) {
  const Json specials = config.value("special_tokens", Json::object());
  if (!specials.is_object()) return invalid_argument("special_tokens is not an object of ids");
  const auto most = static_cast<std::int64_t>(taken.size() + specials.size()) + kLargestGap;
  for (const auto& [name, id] : specials.items()) {
    std::int64_t number = -1;
    if (!take_integer(id, number) || number < 0 || number >= most) {
      return invalid_argument(
          fmt::format("the special token {} has the id {}, expected one from 0 to {}", shown(name),
                      shown(id), most - 1));
    }
    const auto index = static_cast<std::size_t>(number);
    if (index >= taken.size()) taken.resize(index + 1);
    if (taken[index]) {
      return invalid_argument(fmt::format(
          "the special token {} has the id {}, which another token has", shown(name), index));
    }
    taken[index] = true;
  }
  for (const auto& [key, id] :
       {std::pair("bos_token", &bpe.bos), std::pair("eos_token", &bpe.eos)}) {
    const Json name = config.value(key, Json());
    if (name.is_null()) continue;
    if (!name.is_string() || !specials.contains(name.get<std::string>())) {
      return invalid_argument(
          fmt::format("{} is {}, expected one of the special tokens, or null", key, shown(name)));
    }
    *id = specials[name.get<std::string>()].get<std::int32_t>();
  }
  return {};
}

// All ways to put a token together from two others.
void add_merges(const Ranks& ranks, ByteLevelBpe& bpe) {
  std::unordered_map<std::string_view, std::int32_t> ids;
  for (const auto& [token, rank] : ranks.tokens)
    ids.emplace(token, static_cast<std::int32_t>(rank));
  std::vector<MergeTable::Join> joins;
  for (const auto& [token, rank] : ranks.tokens) {
    const std::string_view whole = token;
    for (std::size_t cut = 1; cut < whole.size(); ++cut) {
      const auto left = ids.find(whole.substr(0, cut));
      if (left == ids.end()) continue;
      const auto right = ids.find(whole.substr(cut));
      if (right == ids.end()) continue;
      const auto id = static_cast<std::int32_t>(rank);
      joins.push_back({left->second, right->second, {id, id}});
    }
  }
  MergeTable::build(joins, bpe.merges);  // a pair spells one token: none is there twice
}

Result<ByteLevelBpe> make(const Ranks& ranks, const Json& config) {
  ByteLevelBpe bpe;
  bpe.kind = "tiktoken";
  bpe.whole_words = true;
  TNL_TRY(read_words(config, bpe));
  std::vector<bool> taken(ranks.size);
  bpe.pieces.resize(ranks.size);
  std::unordered_map<std::string_view, std::int64_t> seen;
  for (const auto& [token, rank] : ranks.tokens) {
    if (taken[rank])
      return invalid_argument(fmt::format("the rank {} is given to two tokens", rank));
    const auto [known, is_new] = seen.emplace(token, rank);
    if (!is_new) {
      return invalid_argument(
          fmt::format("the ranks {} and {} are of the same token", known->second, rank));
    }
    taken[rank] = true;
    bpe.pieces[rank] = token;
  }
  TNL_TRY(read_specials(config, bpe, taken));
  bpe.pieces.resize(taken.size());
  for (const std::string& piece : bpe.pieces) bpe.special.push_back(piece.empty());
  TNL_TRY(find_bytes(bpe));
  add_merges(ranks, bpe);
  return bpe;
}

Result<Json> read_config(const std::filesystem::path& path) {
  TNL_ASSIGN(const std::string text, read_file(path, kLargestConfig));
  Json json = parse_json(text);
  if (json.is_object()) return json;
  return invalid_argument(fmt::format("{}: expected one JSON object", path.string()));
}

}  // namespace

Result<ByteLevelBpe> load_tiktoken(const std::filesystem::path& path) {
  TNL_ASSIGN(std::string text, read_file(path, kLargestFile));
  const auto named = [](const std::filesystem::path& file, const Status& status) {
    return Status(status.code(), fmt::format("{}: {}", file.string(), status.message()));
  };
  const Result<Ranks> ranks = read_ranks(text);
  if (!ranks.ok()) return named(path, ranks.status());
  const auto config_path = path.parent_path() / kTiktokenConfigFile;
  std::error_code error;
  const bool given = std::filesystem::exists(config_path, error);
  const Result<Json> config = given ? read_config(config_path) : known_config(ranks->tokens.size());
  if (!config.ok()) return given ? config.status() : named(path, config.status());
  Result<ByteLevelBpe> bpe = make(*ranks, *config);
  if (!bpe.ok()) return named(path, bpe.status());
  bpe->files = {{"tokenizer.tiktoken", std::move(text)},
                {kTiktokenConfigFile, config->dump(2) + "\n"}};
  return bpe;
}

}  // namespace tnl
