// A SentencePiece .model file. Its library allocates tables of its own (a trie of 256 entries a
// piece at worst), hence the larger limit.
#include "text/sentencepiece.h"

#include "fuzz/tokenizer.h"

namespace tnl::fuzz {
namespace {

// A model without a piece for the space has its bytes say U+2581, as in the library.
bool has_space_piece(const Tokenizer& tokenizer) {
  int spaces = 0;  // the byte 0x20 and the piece
  for (std::int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    const auto piece = tokenizer.piece(id, false);
    if (piece.ok() && *piece == " ") ++spaces;
  }
  return spaces > 1;
}

bool lossless(std::string_view model, const Tokenizer& tokenizer) {
  const auto settings = read_settings(model);
  return settings.ok() && settings->byte_fallback && !settings->has_rules &&
         !settings->remove_extra_whitespaces && settings->escape_whitespaces &&
         !settings->whitespace_as_suffix && has_space_piece(tokenizer);
}

void read(std::string_view input) {
  const fs::path file = workplace().write("a.model", input);
  const AllocationLimit limit(input.size(), std::size_t{1} << 24);
  const auto tokenizer = load_tokenizer(file);
  if (!tokenizer.ok()) return check_sentence(tokenizer.status());
  use(**tokenizer, lossless(input, **tokenizer));
  save_and_load(**tokenizer, workplace().path("saved"));
}

}  // namespace
}  // namespace tnl::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  tnl::fuzz::read(tnl::fuzz::text_of(data, size));
  return 0;
}
