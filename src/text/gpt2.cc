#include "text/gpt2.h"

#include <fmt/format.h>

#include "core/file.h"
#include "core/try.h"
#include "text/gpt2_split.h"
#include "text/word_cache.h"

namespace tnl {
namespace {

struct Workspace {
  WordCache cache;
  PairMerger merger;
  std::vector<std::int32_t> symbols;
};

class Gpt2Tokenizer final : public Tokenizer {
 public:
  explicit Gpt2Tokenizer(Gpt2Vocabulary vocabulary) : vocabulary_(std::move(vocabulary)) {}

  std::string_view kind() const override { return "gpt2"; }
  std::int64_t vocab_size() const override {
    return static_cast<std::int64_t>(vocabulary_.pieces.size());
  }
  std::int32_t bos_id() const override { return vocabulary_.end_of_text; }
  std::int32_t eos_id() const override { return vocabulary_.end_of_text; }
  bool special(std::int32_t id) const override { return id >= 0 && id == vocabulary_.end_of_text; }

  Status encode_part(std::string_view part, bool /*first*/,
                     std::vector<std::int32_t>& ids) const override {
    const auto workspace = workspaces_.borrow();
    for (std::size_t at = 0; at < part.size();) {
      const std::size_t end = gpt2_word_end(part, at);
      TNL_TRY(encode_word(part.substr(at, end - at), *workspace, ids));
      at = end;
    }
    return {};
  }

  std::size_t last_cut(std::string_view text) const override { return gpt2_last_cut(text); }

  Result<std::string> piece(std::int32_t id, bool /*first*/) const override {
    if (id < 0 || id >= vocab_size()) {
      return invalid_argument(
          fmt::format("token id {} is outside of the vocabulary, 0 to {}", id, vocab_size() - 1));
    }
    return special(id) ? std::string() : vocabulary_.pieces[id];
  }

  Status save(const std::filesystem::path& directory) const override {
    TNL_TRY(make_directories(directory));
    TNL_TRY(write_file(directory / "vocab.json", vocabulary_.vocabulary_text));
    return write_file(directory / "merges.txt", vocabulary_.merges_text);
  }

 private:
  Status encode_word(std::string_view word, Workspace& workspace,
                     std::vector<std::int32_t>& ids) const {
    if (const auto known = workspace.cache.find(word); !known.empty()) {
      ids.insert(ids.end(), known.begin(), known.end());
      return {};
    }
    if (word.size() >= (std::size_t{1} << 31)) {
      return invalid_argument(fmt::format(
          "the text holds {} bytes without a place to cut, expected fewer than 2^31", word.size()));
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

  const Gpt2Vocabulary vocabulary_;
  mutable Pool<Workspace> workspaces_;
};

}  // namespace

std::shared_ptr<const Tokenizer> make_gpt2_tokenizer(Gpt2Vocabulary vocabulary) {
  return std::make_shared<Gpt2Tokenizer>(std::move(vocabulary));
}

}  // namespace tnl
