// Text to token ids and back.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tnl/status.h"

namespace tnl {

// Immutable after loading; any number of threads may use one at once.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // "sentencepiece", "gpt2" or "bytes".
  virtual std::string_view kind() const = 0;
  virtual std::int64_t vocab_size() const = 0;
  // -1 where there is none.
  virtual std::int32_t bos_id() const = 0;
  virtual std::int32_t eos_id() const = 0;

  // Appends the ids of `text`, without bos or eos. Any bytes are legal input.
  virtual Status encode(std::string_view text, std::vector<std::int32_t>& ids) const = 0;
  // The text of all ids at once; special ids give nothing. An id out of range is an error.
  virtual Result<std::string> decode(std::span<const std::int32_t> ids) const = 0;
  // The bytes one id adds to a running text. Concatenated over a sequence they give decode() of it,
  // but for the leading space that SentencePiece drops at the start of a text (`first`).
  // A piece may end inside a UTF-8 character.
  virtual Result<std::string> piece(std::int32_t id, bool first) const = 0;

  // Copies the tokenizer's files into a model directory under the names load_tokenizer looks for.
  virtual Status save(const std::filesystem::path& directory) const = 0;
};

// `path`: a SentencePiece .model file; a directory with tokenizer.model, or with GPT-2's vocabulary
// (vocab.json or encoder.json) and merges (merges.txt or vocab.bpe); or the word "bytes".
Result<std::shared_ptr<const Tokenizer>> load_tokenizer(const std::filesystem::path& path);

struct SentencePieceTraining {
  std::vector<std::filesystem::path> inputs;  // plain text files
  std::filesystem::path output;               // the .model file
  std::int64_t vocab_size = 4096;
  std::string model_type = "bpe";  // or "unigram"
  double character_coverage = 0.9995;
  std::int64_t max_sentences = 0;  // sample at most so many lines; 0: all
  std::uint64_t seed = 1;
  int threads = 0;  // 0: one for each core
};
// Byte fallback is on; ids: unk 0, bos 1, eos 2, no pad, as in the released vocabulary. Spaces,
// tabs and newlines survive a round trip.
Status train_sentencepiece(const SentencePieceTraining& options);

}  // namespace tnl
