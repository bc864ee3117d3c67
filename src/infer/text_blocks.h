// A text of any length in blocks that fit into memory.
#pragma once

#include <cstddef>
#include <istream>
#include <string>

#include "tnl/status.h"
#include "tnl/tokenizer.h"

namespace tnl {

// Blocks of about 64 KiB that end where the tokenizer says a part may end, so that encoding them
// one by one gives the ids of the whole text. Where it finds no such place in 1 MiB, the block ends
// after the last newline there, or without one before the character that would not fit: then the
// ids may differ from those of the whole, but they depend on the text alone.
class TextBlocks {
 public:
  static constexpr std::size_t kUsual = std::size_t{64} << 10;
  static constexpr std::size_t kAtMost = std::size_t{1} << 20;

  // 4 <= usual <= at_most. Stream and tokenizer must outlive this.
  TextBlocks(std::istream& text, const Tokenizer& tokenizer, std::size_t usual = kUsual,
             std::size_t at_most = kAtMost)
      : text_(text), tokenizer_(tokenizer), usual_(usual), at_most_(at_most) {}

  // False at the end of the text.
  Result<bool> next(std::string& block);

 private:
  bool fill(std::size_t bytes);

  std::istream& text_;
  const Tokenizer& tokenizer_;
  std::size_t usual_, at_most_;
  std::string buffer_;  // read, not given out yet
};

}  // namespace tnl
