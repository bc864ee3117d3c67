#include "tnl/tokenizer.h"

#include <fmt/format.h>

#include "core/try.h"
#include "text/byte_tokenizer.h"
#include "text/gpt2.h"
#include "text/sentencepiece.h"

namespace tnl {
namespace {

namespace fs = std::filesystem;

// The first of the names that exists in `directory`; empty where none does.
fs::path first_of(const fs::path& directory, std::initializer_list<const char*> names) {
  std::error_code ignored;
  for (const char* name : names) {
    if (fs::exists(directory / name, ignored)) return directory / name;
  }
  return {};
}

Result<std::shared_ptr<const Tokenizer>> load_gpt2(const fs::path& vocabulary,
                                                   const fs::path& merges) {
  TNL_ASSIGN(Gpt2Vocabulary loaded, Gpt2Vocabulary::load(vocabulary, merges));
  return make_gpt2_tokenizer(std::move(loaded));
}

}  // namespace

Result<std::string> Tokenizer::decode(std::span<const std::int32_t> ids) const {
  std::string text;
  bool first = true;
  for (const std::int32_t id : ids) {
    TNL_ASSIGN(const std::string bytes, piece(id, first));
    text += bytes;
    first = first && special(id);
  }
  return text;
}

Result<std::shared_ptr<const Tokenizer>> load_tokenizer(const fs::path& path) {
  if (path == "bytes") return make_byte_tokenizer();
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) {
    return not_found(fmt::format(
        "no tokenizer at {}: expected a SentencePiece .model file, a directory or \"bytes\"",
        path.string()));
  }
  if (!fs::is_directory(status)) return load_sentencepiece(path);
  if (const fs::path model = first_of(path, {"tokenizer.model"}); !model.empty()) {
    return load_sentencepiece(model);
  }
  const fs::path vocabulary = first_of(path, {"vocab.json", "encoder.json"});
  const fs::path merges = first_of(path, {"merges.txt", "vocab.bpe"});
  if (!vocabulary.empty() && !merges.empty()) return load_gpt2(vocabulary, merges);
  if (const fs::path bytes = first_of(path, {kByteTokenizerFile}); !bytes.empty()) {
    return load_byte_tokenizer(bytes);
  }
  return not_found(fmt::format("no tokenizer in {}: expected tokenizer.model, or {} with {}, or {}",
                               path.string(), "vocab.json (or encoder.json)",
                               "merges.txt (or vocab.bpe)", kByteTokenizerFile));
}

}  // namespace tnl
