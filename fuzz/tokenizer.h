// What holds for every tokenizer that loads.
#pragma once

#include "fuzz/support.h"
#include "tnl/tokenizer.h"

namespace tnl::fuzz {

// All bytes, runs of spaces, several scripts, broken UTF-8, U+2581.
inline const std::string& sample_text() {
  static const std::string text = [] {
    std::string all =
        "The  cat's 3 mats\n\n sat \t\xe2\x96\x81 \xc3\xa9\xe4\xbd\xa0\xf0\x9f\x98\x80 ABab";
    for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
    return all + "<0x0A><s></s><|endoftext|>";
  }();
  return text;
}

// `lossless`: the text must come back; where the tokenizer promises that only under conditions the
// caller decides.
inline void use(const Tokenizer& tokenizer, bool lossless) {
  FUZZ_CHECK(tokenizer.bos_id() < tokenizer.vocab_size());
  FUZZ_CHECK(tokenizer.eos_id() < tokenizer.vocab_size());
  const std::string& text = sample_text();
  std::vector<std::int32_t> ids;
  if (const Status status = tokenizer.encode(text, ids); !status.ok()) {
    return check_sentence(status);
  }
  for (const std::int32_t id : ids) FUZZ_CHECK(id >= 0 && id < tokenizer.vocab_size());
  const Result<std::string> decoded = tokenizer.decode(ids);
  FUZZ_CHECK(decoded.ok());
  if (lossless) FUZZ_CHECK(*decoded == text);
  // In parts as whole.
  const std::size_t cut = tokenizer.last_cut(std::string_view(text).substr(0, text.size() / 2));
  FUZZ_CHECK(cut <= text.size() / 2);
  if (cut > 0) {
    std::vector<std::int32_t> parts;
    const std::string_view view = text;
    FUZZ_CHECK(tokenizer.encode_part(view.substr(0, cut), true, parts).ok());
    FUZZ_CHECK(tokenizer.encode_part(view.substr(cut), false, parts).ok());
    FUZZ_CHECK(parts == ids);
  }
  for (std::int64_t id = -1; id <= tokenizer.vocab_size(); ++id) {
    const bool known = id >= 0 && id < tokenizer.vocab_size();
    FUZZ_CHECK(tokenizer.piece(static_cast<std::int32_t>(id), false).ok() == known);
  }
}

// What save() leaves loads again and gives the same ids.
inline void save_and_load(const Tokenizer& tokenizer, const fs::path& directory) {
  FUZZ_CHECK(tokenizer.save(directory).ok());
  const auto again = load_tokenizer(directory);
  FUZZ_CHECK(again.ok() && (*again)->vocab_size() == tokenizer.vocab_size());
  std::vector<std::int32_t> ids, others;
  if (!tokenizer.encode(sample_text(), ids).ok()) return;
  FUZZ_CHECK((*again)->encode(sample_text(), others).ok() && ids == others);
}

}  // namespace tnl::fuzz
