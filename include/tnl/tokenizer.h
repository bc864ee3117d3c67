// Text to token ids and back.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
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

  // "sentencepiece", "gpt2", "tokenizer.json", "tiktoken" or "bytes".
  virtual std::string_view kind() const = 0;
  virtual std::int64_t vocab_size() const = 0;
  // -1 where there is none.
  virtual std::int32_t bos_id() const = 0;
  virtual std::int32_t eos_id() const = 0;

  // Bos, eos and other ids that stand for no text.
  virtual bool special(std::int32_t id) const = 0;

  // Appends the ids of `text`, without bos or eos. Any bytes are legal input; special ids never
  // come out, whatever the text spells.
  Status encode(std::string_view text, std::vector<std::int32_t>& ids) const {
    return encode_part(text, true, ids);
  }
  // A text in parts: encoded one after the other, with `first` for the first, they give the ids of
  // the whole as long as every part but the last ends at a last_cut().
  virtual Status encode_part(std::string_view part, bool first,
                             std::vector<std::int32_t>& ids) const = 0;
  // `text` is the beginning of something longer: the largest position at which a part may end, or
  // 0 where there is none.
  virtual std::size_t last_cut(std::string_view text) const = 0;

  // The text of all ids: the pieces one behind the other. An id out of range is an error.
  Result<std::string> decode(std::span<const std::int32_t> ids) const;
  // The bytes one id adds to a running text; a special id adds none. `first`: only special ids came
  // before it; SentencePiece models with a dummy prefix drop the leading space there. A piece may
  // end inside a UTF-8 character.
  virtual Result<std::string> piece(std::int32_t id, bool first) const = 0;

  // Copies the tokenizer's files into a model directory under the names load_tokenizer looks for.
  virtual Status save(const std::filesystem::path& directory) const = 0;
};

// `path`: a SentencePiece .model file; a tokenizer.json of the byte-level BPE kind; a .tiktoken
// rank file; the word "bytes"; or a directory, in which the first of these counts: tokenizer.model,
// tokenizer.json, GPT-2's vocabulary (vocab.json or encoder.json) with its merges (merges.txt or
// vocab.bpe), a .tiktoken file, what save() of the byte tokenizer left (tnl_tokenizer.json).
// docs/tokenizers.md says what of each format is read, and which file names bos and eos.
//
// decode(encode(text)) == text for every sequence of bytes, UTF-8 or not, with "gpt2", "tiktoken",
// "bytes", with "tokenizer.json" unless it normalizes or adds a space in front, and with
// SentencePiece models that have byte pieces and change nothing in the text (identity
// normalization; those of train_sentencepiece): what such a model has no piece for, and a literal
// U+2581, go through byte pieces. Other SentencePiece models lose what their normalization loses.
// "bytes" has 258 ids: the 256 bytes, bos 256 and eos 257. "gpt2" takes <|endoftext|>, where the
// vocabulary has it, as bos and eos.
Result<std::shared_ptr<const Tokenizer>> load_tokenizer(const std::filesystem::path& path);

struct SentencePieceTraining {
  std::vector<std::filesystem::path> inputs;  // plain text files
  std::filesystem::path output;               // the .model file
  std::int64_t vocab_size = 4096;
  std::string model_type = "bpe";  // or "unigram"
  double character_coverage = 0.9995;
  std::int64_t max_sentences = 0;  // sample at most so many lines; 0: all
  std::uint64_t seed = 1;
  int threads = 0;       // 0: one for each core
  bool verbose = false;  // let the library log to stderr
};
// Byte fallback is on, nothing is normalized, no dummy prefix; ids: unk 0, bos 1, eos 2, no pad, as
// in the released vocabulary. Runs of spaces and of newlines can become pieces. The same input and
// options give the same model.
Status train_sentencepiece(const SentencePieceTraining& options);

// Writes the vocabulary of a GGUF file (tokenizer.ggml.model "llama") as a SentencePiece BPE model.
// Nothing is normalized. Whether a text gets a space in front: `dummy_prefix`, else what the file
// says (tokenizer.ggml.add_space_prefix), else yes. Ordinary pieces of score 0 before the byte
// pieces become user-defined symbols, which older files do not tell apart.
Status convert_gguf_vocabulary(const std::filesystem::path& gguf,
                               const std::filesystem::path& output,
                               std::optional<bool> dummy_prefix = std::nullopt);

}  // namespace tnl
