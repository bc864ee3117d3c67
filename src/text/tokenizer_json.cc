#include "text/tokenizer_json.h"

#include <algorithm>
#include <initializer_list>
#include <string>
#include <string_view>
#include <system_error>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>

#include "core/file.h"
#include "core/json.h"
#include "core/try.h"
#include "text/byte_alphabet.h"
#include "text/normalize.h"

namespace tnl {
namespace {

using Json = nlohmann::json;

constexpr std::int64_t kLargestFile = std::int64_t{1} << 26;
constexpr std::int64_t kLargestGap = 4096;  // ids beyond the number of tokens
constexpr std::size_t kLongestAdded = 1024;

struct Pattern {
  std::string_view expression;
  WordRule rule;
};
constexpr Pattern kPatterns[] = {
    {R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)",
     WordRule::kGpt2},
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     WordRule::kCl100k},
    {R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)",
     WordRule::kCl100k},
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     WordRule::kCl100kOneDigit},
};

// The field, or null where it is not there.
const Json& field(const Json& object, const char* name) {
  static const Json none;
  const auto found = object.find(name);
  return found == object.end() ? none : *found;
}

bool flag(const Json& object, const char* name, bool fallback) {
  const Json& value = field(object, name);
  return value.is_boolean() ? value.get<bool>() : fallback;
}

Status unsupported(std::string_view where, const Json& found, std::string_view expected) {
  return invalid_argument(
      fmt::format("{} is {}, which is not supported: expected {}", where, shown(found), expected));
}

std::string type_of(const Json& step) {
  const Json& type = step.is_object() ? field(step, "type") : step;
  return type.is_string() ? type.get<std::string>() : std::string();
}

class Reader {
 public:
  explicit Reader(const Json& root) : root_(root) {}

  Result<ByteLevelBpe> read() {
    bpe_.kind = "tokenizer.json";
    TNL_TRY(read_steps());
    TNL_TRY(read_model());
    return std::move(bpe_);
  }
  // -1 where there is none.
  std::int32_t find(const std::string& content) const {
    const auto found = names_.find(content);
    return found == names_.end() ? -1 : found->second;
  }

 private:
  Status read_steps();
  Status read_pre_tokenizer(const Json& step, bool last);
  Status read_model();
  Status read_tokens(const Json& tokens, const Json& added);
  Status read_added(const Json& added);
  Status read_added_token(const Json& token);
  Status read_merges(const Json& merges);
  Result<std::int32_t> token_of(const std::string& spelling, std::size_t merge);
  Status give(std::int32_t id, std::string piece, const std::string& name);

  const Json& root_;
  ByteLevelBpe bpe_;
  ByteAlphabet alphabet_;
  std::int64_t most_ids_ = 0;
  std::vector<bool> taken_;
  std::unordered_map<std::string, std::int32_t> names_;  // as the file spells them
  std::string bytes_;
};

// normalizer, pre_tokenizer and decoder.
Status Reader::read_steps() {
  const auto each = [](const Json& step, const char* list, const auto& read) -> Status {
    if (step.is_null()) return {};
    if (type_of(step) != "Sequence") return read(step, true);
    const Json& steps = field(step, list);
    if (!steps.is_array()) {
      return invalid_argument(fmt::format("a Sequence has no list \"{}\"", list));
    }
    for (std::size_t i = 0; i < steps.size(); ++i) TNL_TRY(read(steps[i], i + 1 == steps.size()));
    return {};
  };
  TNL_TRY(each(field(root_, "normalizer"), "normalizers", [&](const Json& step, bool) -> Status {
    if (type_of(step) != "NFC") return unsupported("the normalizer", step, "null or NFC");
    bpe_.compose = true;
    return {};
  }));
  const Json& pre = field(root_, "pre_tokenizer");
  if (pre.is_null()) {
    return unsupported("the pre_tokenizer", pre, "ByteLevel, or Split and ByteLevel");
  }
  bool byte_level = false;
  TNL_TRY(each(pre, "pretokenizers", [&](const Json& step, bool last) {
    byte_level = last && type_of(step) == "ByteLevel";
    return read_pre_tokenizer(step, last);
  }));
  if (!byte_level) return unsupported("the pre_tokenizer", pre, "one that ends with ByteLevel");
  return each(field(root_, "decoder"), "decoders", [](const Json& step, bool) {
    return type_of(step) == "ByteLevel" ? Status() : unsupported("the decoder", step, "ByteLevel");
  });
}

// ByteLevel alone splits by GPT-2's rule; after a Split it has to leave the words as they are.
Status Reader::read_pre_tokenizer(const Json& step, bool last) {
  const bool alone = type_of(field(root_, "pre_tokenizer")) != "Sequence" ||
                     field(field(root_, "pre_tokenizer"), "pretokenizers").size() == 1;
  if (type_of(step) == "ByteLevel" && last) {
    bpe_.prefix_space = flag(step, "add_prefix_space", true);
    const bool splits = flag(step, "use_regex", true);
    if (alone && splits) return {};
    if (!alone && !splits && !bpe_.prefix_space) return {};
    return unsupported(
        "the pre-tokenizer", step,
        alone ? "use_regex true" : "use_regex and add_prefix_space false after a Split");
  }
  if (type_of(step) != "Split" || last) {
    return unsupported("the pre-tokenizer", step, "ByteLevel, or Split and ByteLevel");
  }
  if (&step != &field(field(root_, "pre_tokenizer"), "pretokenizers")[0]) {
    return unsupported("the pre-tokenizer", step, "a single Split");
  }
  if (field(step, "behavior") != "Isolated" || flag(step, "invert", false)) {
    return unsupported("the Split", step, "behavior Isolated, not inverted");
  }
  const Json& expression =
      field(field(step, "pattern").is_object() ? step["pattern"] : step, "Regex");
  for (const Pattern& pattern : kPatterns) {
    if (expression != pattern.expression) continue;
    bpe_.words = pattern.rule;
    return {};
  }
  return unsupported("the pattern of the Split", field(step, "pattern"),
                     "that of GPT-2, cl100k or Qwen");
}

Status Reader::read_model() {
  const Json& model = field(root_, "model");
  if (!model.is_object()) return invalid_argument("no object \"model\"");
  const Json& type = field(model, "type");
  if (!type.is_null() && type != "BPE") return unsupported("the model's type", type, "BPE");
  for (const char* name : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const Json& value = field(model, name);
    if (!value.is_null() && value != "") return unsupported(name, value, "none");
  }
  const Json& dropout = field(model, "dropout");
  if (!dropout.is_null() && dropout != 0) return unsupported("dropout", dropout, "null");
  if (flag(model, "byte_fallback", false)) {
    return unsupported("byte_fallback", true, "false, as byte-level tokenizers have it");
  }
  bpe_.whole_words = flag(model, "ignore_merges", false);
  TNL_TRY(read_tokens(field(model, "vocab"), field(root_, "added_tokens")));
  TNL_TRY(find_bytes(bpe_));
  return read_merges(field(model, "merges"));
}

Status Reader::give(std::int32_t id, std::string piece, const std::string& name) {
  if (taken_[id]) {
    return invalid_argument(
        fmt::format("the id {} is given to two tokens, one is {}", id, shown(name)));
  }
  taken_[id] = true;
  names_.emplace(name, id);
  bpe_.pieces[id] = std::move(piece);
  return {};
}

Status Reader::read_tokens(const Json& tokens, const Json& added) {
  if (!tokens.is_object()) return invalid_argument("the model has no object \"vocab\"");
  if (!added.is_null() && !added.is_array()) {
    return invalid_argument("\"added_tokens\" is not a list");
  }
  const auto count = static_cast<std::int64_t>(tokens.size() + added.size());
  most_ids_ = count + kLargestGap;
  taken_.resize(most_ids_);
  bpe_.pieces.resize(most_ids_);
  for (const auto& [token, id] : tokens.items()) {
    std::int64_t number = -1;
    if (!take_integer(id, number) || number < 0 || number >= most_ids_) {
      return invalid_argument(fmt::format("token {} has the id {}, expected one from 0 to {}",
                                          shown(token), shown(id), most_ids_ - 1));
    }
    // What is not spelled in the alphabet has to be an added token: that gives it its text.
    const bool spelled = alphabet_.spell(token, bytes_);
    TNL_TRY(give(static_cast<std::int32_t>(number), spelled ? bytes_ : std::string(), token));
  }
  bpe_.special.resize(most_ids_);
  TNL_TRY(read_added(added));
  for (const auto& [token, id] : names_) {
    if (bpe_.pieces[id].empty() && !bpe_.special[id]) {
      return invalid_argument(fmt::format(
          "token {} (id {}) is not spelled in GPT-2's byte alphabet", shown(token), id));
    }
  }
  std::int64_t size = most_ids_;
  while (size > 0 && !taken_[size - 1]) --size;
  bpe_.pieces.resize(size);
  bpe_.special.resize(size);
  for (std::int64_t id = 0; id < size; ++id) {
    if (!taken_[id]) bpe_.special[id] = true;
  }
  return {};
}

Status Reader::read_added(const Json& added) {
  for (const Json& token : added) TNL_TRY(read_added_token(token));
  return {};
}

Status Reader::read_added_token(const Json& token) {
  const Json& content = field(token, "content");
  std::int64_t number = -1;
  if (!content.is_string() || content.get_ref<const std::string&>().empty() ||
      content.get_ref<const std::string&>().size() > kLongestAdded ||
      !take_integer(field(token, "id"), number) || number < 0 || number >= most_ids_) {
    return invalid_argument(
        fmt::format("the added token {} has no content of 1 to {} bytes or no id from 0 to {}",
                    shown(token), kLongestAdded, most_ids_ - 1));
  }
  const auto& text = content.get_ref<const std::string&>();
  const auto id = static_cast<std::int32_t>(number);
  const std::int32_t known = find(text);
  if (known >= 0 && known != id) {
    return invalid_argument(
        fmt::format("the added token {} has the id {}, but the vocabulary gives it {}",
                    shown(content), id, known));
  }
  if (known < 0) TNL_TRY(give(id, text, text));
  if (flag(token, "special", false)) {
    bpe_.special[id] = true;
    bpe_.pieces[id].clear();
    return {};
  }
  for (const char* option : {"single_word", "lstrip", "rstrip"}) {
    if (flag(token, option, false)) {
      return unsupported(fmt::format("{} of the added token {}", option, shown(content)), true,
                         "false");
    }
  }
  bpe_.pieces[id] = text;
  if (!flag(token, "normalized", true)) {
    bpe_.raw_tokens.add(text, id);
  } else if (bpe_.compose) {
    TNL_ASSIGN(const std::string composed, normalize_c(text));
    bpe_.normalized_tokens.add(composed, id);
  } else {
    bpe_.normalized_tokens.add(text, id);
  }
  return {};
}

Result<std::int32_t> Reader::token_of(const std::string& spelling, std::size_t merge) {
  const std::int32_t id = find(spelling);
  if (id >= 0) return id;
  return invalid_argument(
      fmt::format("merge {}: {} is not in the vocabulary", merge, shown(spelling)));
}

// "left right", or ["left", "right"].
Status Reader::read_merges(const Json& merges) {
  if (!merges.is_array()) return invalid_argument("the model has no list \"merges\"");
  std::vector<MergeTable::Join> joins;
  std::string left, right;
  for (std::size_t i = 0; i < merges.size(); ++i) {
    const Json& merge = merges[i];
    if (merge.is_string()) {
      const auto& text = merge.get_ref<const std::string&>();
      const std::size_t space = text.find(' ');
      left = text.substr(0, space);
      right = space == std::string::npos ? std::string() : text.substr(space + 1);
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
               merge[1].is_string()) {
      left = merge[0].get<std::string>();
      right = merge[1].get<std::string>();
    } else {
      left.clear();
    }
    if (left.empty() || right.empty()) {
      return invalid_argument(fmt::format("merge {} is {}, expected two tokens", i, shown(merge)));
    }
    TNL_ASSIGN(const std::int32_t left_id, token_of(left, i));
    TNL_ASSIGN(const std::int32_t right_id, token_of(right, i));
    TNL_ASSIGN(const std::int32_t joined, token_of(left + right, i));
    joins.push_back({left_id, right_id, {static_cast<std::int32_t>(i), joined}});
  }
  const std::size_t twice = MergeTable::build(joins, bpe_.merges);
  if (twice == MergeTable::kNoneTwice) return {};
  return invalid_argument(
      fmt::format("merge {}, {}, is listed twice", twice, shown(merges[twice])));
}

Result<Json> parse(const std::string& text) {
  Json json = parse_json(text);
  if (json.is_object()) return json;
  return invalid_argument("expected one JSON object");
}

// A token by its text, as a string or an object that holds it as content.
Result<std::int32_t> named_token(const Json& config, const char* name, const Reader& reader) {
  const Json& value = field(config, name);
  const Json& content = value.is_object() ? field(value, "content") : value;
  if (content.is_null()) return -1;
  const std::int32_t id = content.is_string() ? reader.find(content.get<std::string>()) : -1;
  if (id >= 0) return id;
  return invalid_argument(
      fmt::format("{} is {}, which the vocabulary does not have", name, shown(value)));
}

std::int32_t first_of(std::initializer_list<const char*> names, const Reader& reader) {
  for (const char* name : names) {
    if (const std::int32_t id = reader.find(name); id >= 0) return id;
  }
  return -1;
}

Status read_ends(const std::filesystem::path& config, const Reader& reader, ByteLevelBpe& bpe) {
  std::error_code error;
  if (!std::filesystem::exists(config, error)) {
    bpe.bos = first_of({"<s>", "<|begin_of_text|>", "<|endoftext|>"}, reader);
    bpe.eos = first_of({"</s>", "<|end_of_text|>", "<|endoftext|>"}, reader);
  } else {
    TNL_ASSIGN(std::string text, read_file(config, kLargestFile));
    TNL_ASSIGN(const Json json, parse(text));
    TNL_ASSIGN(bpe.bos, named_token(json, "bos_token", reader));
    TNL_ASSIGN(bpe.eos, named_token(json, "eos_token", reader));
    bpe.files.push_back({"tokenizer_config.json", std::move(text)});
  }
  for (const std::int32_t id : {bpe.bos, bpe.eos}) {
    if (id < 0) continue;
    bpe.special[id] = true;  // whatever its entry says: the name in a text is text
    bpe.pieces[id].clear();
    bpe.raw_tokens.remove(id);
    bpe.normalized_tokens.remove(id);
  }
  return {};
}

Status named(const std::filesystem::path& path, const Status& status) {
  const bool has_name = status.message().find(path.string()) != std::string::npos;
  return has_name ? status
                  : Status(status.code(), fmt::format("{}: {}", path.string(), status.message()));
}

}  // namespace

Result<ByteLevelBpe> load_tokenizer_json(const std::filesystem::path& path) {
  TNL_ASSIGN(std::string text, read_file(path, kLargestFile));
  const Result<Json> json = parse(text);
  if (!json.ok()) return named(path, json.status());
  Reader reader(*json);
  Result<ByteLevelBpe> bpe = reader.read();
  if (!bpe.ok()) return named(path, bpe.status());
  bpe->files.push_back({"tokenizer.json", std::move(text)});
  const auto config = path.parent_path() / "tokenizer_config.json";
  if (const Status status = read_ends(config, reader, *bpe); !status.ok()) {
    return named(config, status);
  }
  return bpe;
}

}  // namespace tnl
