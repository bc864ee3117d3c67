// A SentencePiece model from the vocabulary that a GGUF file holds.
#include <cmath>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <sentencepiece_processor.h>

#include "core/file.h"
#include "core/printable.h"
#include "core/try.h"
#include "text/gguf.h"
#include "text/sentencepiece.h"
#include "tnl/tokenizer.h"

namespace tnl {
namespace {

using Pieces = SentencePiecePieces;

// Writers of GGUF files used to store user-defined symbols as ordinary pieces. SentencePiece gives
// them the score 0 and ids before the bytes, where no learned piece can be.
void restore_user_defined(Pieces& pieces) {
  for (Pieces::Piece& piece : pieces.pieces) {
    if (piece.type == Pieces::kByte) return;
    if (piece.type == Pieces::kNormal && piece.score == 0) piece.type = Pieces::kUserDefined;
  }
}

Result<std::int32_t> special_id(const GgufMetadata& metadata, const std::string& key,
                                std::int64_t fallback, std::size_t count) {
  TNL_ASSIGN(const std::int64_t id, metadata.integer(key, fallback));
  if (id >= -1 && id < static_cast<std::int64_t>(count)) return static_cast<std::int32_t>(id);
  return invalid_argument(fmt::format("{} is {}, expected an id below {}", key, id, count));
}

Status read_pieces(const GgufMetadata& metadata, Pieces& pieces) {
  TNL_ASSIGN(const auto tokens, metadata.texts("tokenizer.ggml.tokens"));
  TNL_ASSIGN(const auto scores, metadata.numbers("tokenizer.ggml.scores"));
  TNL_ASSIGN(const auto types, metadata.numbers("tokenizer.ggml.token_type"));
  if (scores.size() != tokens.size() || types.size() != tokens.size()) {
    return invalid_argument(fmt::format("{} tokens, {} scores and {} types, expected as many",
                                        tokens.size(), scores.size(), types.size()));
  }
  for (std::size_t id = 0; id < tokens.size(); ++id) {
    if (!(types[id] >= 1 && types[id] <= 6) || !std::isfinite(scores[id])) {
      return invalid_argument(
          fmt::format("token {} has the type {} and the score {}, expected a "
                      "type from 1 to 6 and a finite score",
                      id, types[id], scores[id]));
    }
    const auto type = static_cast<Pieces::Type>(static_cast<int>(types[id]));
    pieces.pieces.push_back({tokens[id], static_cast<float>(scores[id]), type});
    pieces.byte_fallback = pieces.byte_fallback || type == Pieces::kByte;
    if (type == Pieces::kUnknown) pieces.unk = static_cast<std::int32_t>(id);
  }
  return {};
}

Result<std::string> convert(std::string_view file, std::optional<bool> dummy_prefix) {
  TNL_ASSIGN(const GgufMetadata metadata, GgufMetadata::parse(file));
  TNL_ASSIGN(const std::string_view kind, metadata.text("tokenizer.ggml.model"));
  if (kind != "llama") {
    return invalid_argument(
        fmt::format("tokenizer.ggml.model is \"{}\", expected \"llama\", a SentencePiece BPE "
                    "vocabulary",
                    printable(kind)));
  }
  Pieces pieces;
  TNL_TRY(read_pieces(metadata, pieces));
  restore_user_defined(pieces);
  const std::size_t count = pieces.pieces.size();
  TNL_ASSIGN(pieces.bos, special_id(metadata, "tokenizer.ggml.bos_token_id", 1, count));
  TNL_ASSIGN(pieces.eos, special_id(metadata, "tokenizer.ggml.eos_token_id", 2, count));
  TNL_ASSIGN(const std::int64_t prefix, metadata.integer("tokenizer.ggml.add_space_prefix", 1));
  pieces.dummy_prefix = dummy_prefix.value_or(prefix != 0);
  std::string model = write_sentencepiece_bpe(pieces);
  sentencepiece::SentencePieceProcessor processor;
  const auto status = processor.LoadFromSerializedProto(model);
  if (!status.ok()) {
    return invalid_argument(fmt::format("SentencePiece refuses the vocabulary ({})",
                                        printable(status.error_message(), 200)));
  }
  return model;
}

}  // namespace

Status convert_gguf_vocabulary(const std::filesystem::path& gguf,
                               const std::filesystem::path& output,
                               std::optional<bool> dummy_prefix) {
  TNL_ASSIGN(const MappedFile file, MappedFile::open(gguf));
  const Result<std::string> model = convert(file.text(), dummy_prefix);
  if (!model.ok()) {
    return Status(model.status().code(),
                  fmt::format("{}: {}", gguf.string(), model.status().message()));
  }
  return write_file(output, *model);
}

}  // namespace tnl
