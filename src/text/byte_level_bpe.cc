#include "text/byte_level_bpe.h"

#include <algorithm>
#include <span>
#include <string_view>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>

#include "core/file.h"
#include "core/try.h"
#include "text/normalize.h"
#include "text/word_cache.h"

namespace tnl {
namespace {

using Ids = std::vector<std::int32_t>;

struct Workspace {
  WordCache cache;
  PairMerger merger;
  Ids symbols;
};

class ByteLevelBpeTokenizer final : public Tokenizer {
 public:
  explicit ByteLevelBpeTokenizer(ByteLevelBpe vocabulary) : vocabulary_(std::move(vocabulary)) {
    if (!vocabulary_.whole_words) return;
    for (std::size_t id = 0; id < vocabulary_.pieces.size(); ++id) {
      const std::string& piece = vocabulary_.pieces[id];
      if (!piece.empty()) words_.emplace(piece, static_cast<std::int32_t>(id));
    }
  }

  std::string_view kind() const override { return vocabulary_.kind; }
  std::int64_t vocab_size() const override {
    return static_cast<std::int64_t>(vocabulary_.pieces.size());
  }
  std::int32_t bos_id() const override { return vocabulary_.bos; }
  std::int32_t eos_id() const override { return vocabulary_.eos; }
  bool special(std::int32_t id) const override {
    return id >= 0 && id < vocab_size() && vocabulary_.special[id];
  }

  Status encode_part(std::string_view part, bool first, Ids& ids) const override;
  std::size_t last_cut(std::string_view text) const override;

  Result<std::string> piece(std::int32_t id, bool /*first*/) const override {
    if (id < 0 || id >= vocab_size()) {
      return invalid_argument(
          fmt::format("token id {} is outside of the vocabulary, 0 to {}", id, vocab_size() - 1));
    }
    return vocabulary_.pieces[id];
  }

  Status save(const std::filesystem::path& directory) const override {
    TNL_TRY(make_directories(directory));
    for (const auto& file : vocabulary_.files) {
      TNL_TRY(write_file(directory / file.name, file.content));
    }
    return {};
  }

 private:
  Status encode_normalized(std::string_view text, bool first, Workspace& workspace, Ids& ids) const;
  // A stretch without added tokens; `first`: nothing or an added token stands before it.
  Status encode_words(std::string_view text, bool first, Workspace& workspace, Ids& ids) const;
  Status encode_word(std::string_view word, Workspace& workspace, Ids& ids) const;

  const ByteLevelBpe vocabulary_;
  std::unordered_map<std::string_view, std::int32_t> words_;  // where whole_words; of the pieces
  mutable Pool<Workspace> workspaces_;
};

// Calls encode(stretch, first) for the text between the tokens.
template <class Encode>
Status split_at_tokens(const AddedTokens& tokens, std::string_view text, bool first, Ids& ids,
                       const Encode& encode) {
  while (!text.empty()) {
    const AddedTokens::Match match = tokens.find(text);
    if (match.begin > 0) TNL_TRY(encode(text.substr(0, match.begin), first));
    if (match.id >= 0) ids.push_back(match.id);
    text.remove_prefix(match.begin + match.bytes);
    first = true;
  }
  return {};
}

Status ByteLevelBpeTokenizer::encode_part(std::string_view part, bool first, Ids& ids) const {
  const auto workspace = workspaces_.borrow();
  return split_at_tokens(vocabulary_.raw_tokens, part, first, ids,
                         [&](std::string_view text, bool begins) -> Status {
                           if (!vocabulary_.compose || is_ascii(text)) {
                             return encode_normalized(text, begins, *workspace, ids);
                           }
                           TNL_ASSIGN(const std::string composed, normalize_c(text));
                           return encode_normalized(composed, begins, *workspace, ids);
                         });
}

Status ByteLevelBpeTokenizer::encode_normalized(std::string_view text, bool first,
                                                Workspace& workspace, Ids& ids) const {
  return split_at_tokens(vocabulary_.normalized_tokens, text, first, ids,
                         [&](std::string_view stretch, bool begins) {
                           return encode_words(stretch, begins, workspace, ids);
                         });
}

Status ByteLevelBpeTokenizer::encode_words(std::string_view text, bool first, Workspace& workspace,
                                           Ids& ids) const {
  std::string prefixed;
  if (first && vocabulary_.prefix_space && !text.starts_with(' ')) {
    prefixed.reserve(text.size() + 1);
    prefixed += ' ';
    prefixed += text;
    text = prefixed;
  }
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = word_end(vocabulary_.words, text, at);
    TNL_TRY(encode_word(text.substr(at, end - at), workspace, ids));
    at = end;
  }
  return {};
}

Status ByteLevelBpeTokenizer::encode_word(std::string_view word, Workspace& workspace,
                                          Ids& ids) const {
  if (const auto known = workspace.cache.find(word); !known.empty()) {
    ids.insert(ids.end(), known.begin(), known.end());
    return {};
  }
  if (word.size() >= (std::size_t{1} << 31)) {
    return invalid_argument(fmt::format(
        "the text holds {} bytes without a place to cut, expected fewer than 2^31", word.size()));
  }
  if (const auto whole = words_.find(word); whole != words_.end()) {
    ids.push_back(whole->second);
    workspace.cache.insert(word, std::span(&whole->second, 1));
    return {};
  }
  workspace.symbols.resize(word.size());
  for (std::size_t i = 0; i < word.size(); ++i) {
    workspace.symbols[i] = vocabulary_.byte_ids[static_cast<unsigned char>(word[i])];
  }
  const std::size_t count = workspace.merger.merge(vocabulary_.merges, workspace.symbols);
  ids.insert(ids.end(), workspace.symbols.begin(), workspace.symbols.begin() + count);
  workspace.cache.insert(word, std::span(workspace.symbols).first(count));
  return {};
}

// White space that a cut leaves to the next part begins no added token that reaches back across it,
// and composes with nothing before it. The part after the cut is not the first: where texts get a
// prefix, only a space may begin it.
std::size_t ByteLevelBpeTokenizer::last_cut(std::string_view text) const {
  std::size_t cut = word_last_cut(vocabulary_.words, text);
  for (; cut > 0; cut = word_last_cut(vocabulary_.words, text.substr(0, cut))) {
    const bool inside_token = vocabulary_.raw_tokens.hold_pair(text[cut - 1], text[cut]) ||
                              vocabulary_.normalized_tokens.hold_pair(text[cut - 1], text[cut]);
    if (!inside_token && (!vocabulary_.prefix_space || text[cut] == ' ')) break;
  }
  return cut;
}

}  // namespace

std::shared_ptr<const Tokenizer> make_byte_level_bpe(ByteLevelBpe vocabulary) {
  return std::make_shared<ByteLevelBpeTokenizer>(std::move(vocabulary));
}

Status find_bytes(ByteLevelBpe& vocabulary) {
  std::fill(std::begin(vocabulary.byte_ids), std::end(vocabulary.byte_ids), -1);
  for (std::size_t id = 0; id < vocabulary.pieces.size(); ++id) {
    const std::string& piece = vocabulary.pieces[id];
    if (piece.size() != 1 || vocabulary.special[id]) continue;
    vocabulary.byte_ids[static_cast<unsigned char>(piece[0])] = static_cast<std::int32_t>(id);
  }
  for (int byte = 0; byte < 256; ++byte) {
    if (vocabulary.byte_ids[byte] < 0) {
      return invalid_argument(
          fmt::format("no token for the byte 0x{:02x}, expected all 256", byte));
    }
  }
  return {};
}

}  // namespace tnl
