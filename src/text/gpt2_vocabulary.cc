#include "text/gpt2_vocabulary.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>

#include "core/file.h"
#include "core/json.h"
#include "core/try.h"
#include "text/byte_alphabet.h"

namespace tnl {
namespace {

using Ids = std::unordered_map<std::string, std::int32_t>;  // by bytes

constexpr std::int64_t kLargestFile = std::int64_t{1} << 26;
constexpr std::string_view kEndOfText = "<|endoftext|>";

Status bad(const std::filesystem::path& path, const std::string& found) {
  return invalid_argument(fmt::format("{}: {}", path.string(), found));
}

// Enough of a token to find it, whatever it holds.
std::string quote(std::string_view token) {
  return shown(nlohmann::json(std::string(token.substr(0, 50))));
}

Status read_tokens(const std::filesystem::path& path, const std::string& text,
                   const ByteAlphabet& alphabet, ByteLevelBpe& vocabulary, Ids& ids) {
  bool twice = false;
  std::string repeated;
  std::unordered_map<std::string, bool> keys;
  const auto watch = [&](int depth, nlohmann::json::parse_event_t event, nlohmann::json& value) {
    if (depth == 1 && event == nlohmann::json::parse_event_t::key && !twice) {
      const std::string& key = value.get_ref<const std::string&>();
      twice = !keys.emplace(key, true).second;
      if (twice) repeated = key;
    }
    return true;
  };
  nlohmann::json json;
  if (!nests_too_deep(text)) json = nlohmann::json::parse(text, watch, false);
  if (!json.is_object()) return bad(path, "expected one JSON object of tokens and their ids");
  if (twice) return bad(path, fmt::format("token {} is listed twice", quote(repeated)));
  const auto count = static_cast<std::int64_t>(json.size());
  vocabulary.pieces.resize(json.size());
  std::vector<bool> taken(json.size());
  std::string bytes;
  for (const auto& [token, value] : json.items()) {
    if (!value.is_number_integer() || value < 0 || value >= count) {
      return bad(path, fmt::format("token {} has the id {}, expected {} different ids from 0 to {}",
                                   quote(token), shown(value), count, count - 1));
    }
    const auto id = value.get<std::int32_t>();
    if (taken[id]) return bad(path, fmt::format("the id {} is given to two tokens", id));
    taken[id] = true;
    if (token.empty() || !alphabet.spell(token, bytes)) {
      return bad(path, fmt::format("token {} (id {}) is not spelled in GPT-2's byte alphabet",
                                   quote(token), id));
    }
    vocabulary.pieces[id] = bytes;
    ids.emplace(bytes, id);
  }
  vocabulary.special.resize(json.size());
  if (const Status status = find_bytes(vocabulary); !status.ok()) {
    return bad(path, status.message());
  }
  const auto end = ids.find(std::string(kEndOfText));
  if (end == ids.end()) return {};
  vocabulary.bos = vocabulary.eos = end->second;
  vocabulary.special[end->second] = true;
  vocabulary.pieces[end->second].clear();
  return {};
}

Status read_merges(const std::filesystem::path& path, const std::string& text,
                   const ByteAlphabet& alphabet, const Ids& ids, ByteLevelBpe& vocabulary) {
  std::vector<MergeTable::Join> joins;
  std::vector<std::size_t> numbers;  // the line of each
  std::string_view rest = text;
  std::string left, right;
  for (std::size_t number = 1; !rest.empty(); ++number) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || (number == 1 && line.starts_with("#version"))) continue;
    const auto wrong = [&](std::string_view what) {
      return bad(path, fmt::format("line {}, {}: {}", number, quote(line), what));
    };
    const std::size_t space = line.find(' ');
    if (space == std::string_view::npos || space == 0 || space + 1 == line.size() ||
        line.find(' ', space + 1) != std::string_view::npos) {
      return wrong("expected two tokens with one space between them");
    }
    if (!alphabet.spell(line.substr(0, space), left) ||
        !alphabet.spell(line.substr(space + 1), right)) {
      return wrong("not spelled in GPT-2's byte alphabet");
    }
    const auto left_id = ids.find(left), right_id = ids.find(right),
               joined = ids.find(left + right);
    if (left_id == ids.end() || right_id == ids.end() || joined == ids.end()) {
      return wrong("expected both parts and what they join to in the vocabulary");
    }
    const auto rank = static_cast<std::int32_t>(joins.size());
    joins.push_back({left_id->second, right_id->second, {rank, joined->second}});
    numbers.push_back(number);
  }
  const std::size_t twice = MergeTable::build(joins, vocabulary.merges);
  if (twice == MergeTable::kNoneTwice) return {};
  return bad(path, fmt::format("line {}: this merge is listed twice", numbers[twice]));
}

}  // namespace

Result<ByteLevelBpe> load_gpt2_vocabulary(const std::filesystem::path& vocabulary_path,
                                          const std::filesystem::path& merges_path) {
  TNL_ASSIGN(std::string tokens, read_file(vocabulary_path, kLargestFile));
  TNL_ASSIGN(std::string merges, read_file(merges_path, kLargestFile));
  ByteLevelBpe vocabulary;
  vocabulary.kind = "gpt2";
  const ByteAlphabet alphabet;
  Ids ids;
  TNL_TRY(read_tokens(vocabulary_path, tokens, alphabet, vocabulary, ids));
  TNL_TRY(read_merges(merges_path, merges, alphabet, ids, vocabulary));
  vocabulary.files = {{"vocab.json", std::move(tokens)}, {"merges.txt", std::move(merges)}};
  return vocabulary;
}

}  // namespace tnl
