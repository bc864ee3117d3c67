// A text of any length in blocks that fit into memory.
#pragma once

#include <cstddef>
#include <istream>
#include <string>

#include "tnl/status.h"

namespace tnl {

// Where a block ends depends on the text alone: after the first newline, `at_least` bytes or more
// into the block, whose next byte is not white space (there pre-tokenizers cut as well, so that
// encoding the blocks one by one hardly differs from encoding the whole); at `at_most` bytes, but
// not inside a UTF-8 character, where there is no such newline; at the end of the text.
class TextBlocks {
 public:
  static constexpr std::size_t kAtLeast = std::size_t{64} << 10;
  static constexpr std::size_t kAtMost = std::size_t{1} << 20;

  // 4 <= at_least <= at_most. The stream must outlive this.
  explicit TextBlocks(std::istream& text, std::size_t at_least = kAtLeast,
                      std::size_t at_most = kAtMost)
      : text_(text), at_least_(at_least), at_most_(at_most) {}

  // False at the end of the text.
  Result<bool> next(std::string& block);

 private:
  bool read();
  std::size_t newline_cut(std::size_t& searched) const;
  std::size_t forced_cut() const;

  std::istream& text_;
  std::size_t at_least_, at_most_;
  std::string buffer_;  // read, not given out yet
};

}  // namespace tnl
