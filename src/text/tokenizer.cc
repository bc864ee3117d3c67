#include "tnl/tokenizer.h"

#include <fmt/format.h>

#include "core/try.h"
#include "text/byte_level_bpe.h"
#include "text/byte_tokenizer.h"
#include "text/gpt2_vocabulary.h"
#include "text/sentencepiece.h"
#include "text/tiktoken.h"
#include "text/tokenizer_json.h"

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

Result<std::shared_ptr<const Tokenizer>> byte_level(Result<ByteLevelBpe> vocabulary) {
  if (!vocabulary.ok()) return vocabulary.status();
  return make_byte_level_bpe(std::move(vocabulary).value());
}

// The one file in `directory` whose name ends in .tiktoken; empty where there is none.
Result<fs::path> find_ranks(const fs::path& directory) {
  fs::path found;
  std::error_code error;
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error)) {
    if (entry->path().extension() != ".tiktoken") continue;
    if (!found.empty()) {
      return invalid_argument(fmt::format("{}: found {} and {}, expected one .tiktoken file",
                                          directory.string(), found.filename().string(),
                                          entry->path().filename().string()));
    }
    found = entry->path();
  }
  return found;
}

Result<std::shared_ptr<const Tokenizer>> load_file(const fs::path& file) {
  if (file.extension() == ".json") return byte_level(load_tokenizer_json(file));
  if (file.extension() == ".tiktoken") return byte_level(load_tiktoken(file));
  return load_sentencepiece(file);
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
        "no tokenizer at {}: expected a SentencePiece .model file, a tokenizer.json, a .tiktoken "
        "file, a directory or \"bytes\"",
        path.string()));
  }
  if (!fs::is_directory(status)) return load_file(path);
  if (const fs::path file = first_of(path, {"tokenizer.model", "tokenizer.json"}); !file.empty()) {
    return load_file(file);
  }
  const fs::path vocabulary = first_of(path, {"vocab.json", "encoder.json"});
  const fs::path merges = first_of(path, {"merges.txt", "vocab.bpe"});
  if (!vocabulary.empty() && !merges.empty()) {
    return byte_level(load_gpt2_vocabulary(vocabulary, merges));
  }
  TNL_ASSIGN(const fs::path ranks, find_ranks(path));
  if (!ranks.empty()) return load_file(ranks);
  if (const fs::path bytes = first_of(path, {kByteTokenizerFile}); !bytes.empty()) {
    return load_byte_tokenizer(bytes);
  }
  return not_found(fmt::format(
      "no tokenizer in {}: expected tokenizer.model, tokenizer.json, vocab.json (or encoder.json) "
      "with merges.txt (or vocab.bpe), a .tiktoken file, or {}",
      path.string(), kByteTokenizerFile));
}

}  // namespace tnl
