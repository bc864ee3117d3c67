// SentencePiece models, through its library.
#pragma once

#include <filesystem>
#include <memory>
#include <string_view>

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

// A message that, appended to a model, turns its dummy prefix off: fields given later win.
std::string_view no_dummy_prefix();

}  // namespace tnl
