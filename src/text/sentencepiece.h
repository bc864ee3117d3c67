// SentencePiece models, through its library.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tnl/status.h"
#include "tnl/tokenizer.h"

namespace tnl {

Result<std::shared_ptr<const Tokenizer>> load_sentencepiece(const std::filesystem::path& model);

// What a serialized model says about the text it expects; the library does not tell.
struct SentencePieceSettings {
  bool has_rules = false;  // a table of replacements, such as NFKC
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;
  bool whitespace_as_suffix = false;
  bool byte_fallback = false;
};
// An error where `model` is not a well-formed protocol buffer message, or its table of replacements
// would lead its library outside of it.
Result<SentencePieceSettings> read_settings(std::string_view model);

// A BPE vocabulary as lists have it, to be written as a model.
struct SentencePiecePieces {
  enum Type { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };
  struct Piece {
    std::string_view text;  // U+2581 for a space
    float score = 0;
    Type type = kNormal;
  };
  std::vector<Piece> pieces;
  std::int32_t unk = 0, bos = -1, eos = -1;  // ids; bos and eos -1: none
  bool byte_fallback = false, dummy_prefix = true;
};
// The serialized model: nothing is normalized, all spaces stay.
std::string write_sentencepiece_bpe(const SentencePiecePieces& pieces);

// A message that, appended to a model, turns its dummy prefix off: fields given later win.
std::string_view no_dummy_prefix();

}  // namespace tnl
