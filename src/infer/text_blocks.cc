#include "infer/text_blocks.h"

#include <algorithm>
#include <string_view>

namespace tnl {
namespace {

// Where to cut a text that has more than `at_most` bytes and no place its tokenizer would choose.
std::size_t forced_cut(std::string_view text, std::size_t at_most) {
  const std::size_t newline = text.rfind('\n', at_most - 1);
  if (newline != std::string_view::npos) return newline + 1;
  std::size_t cut = at_most;
  for (int i = 0; i < 3 && (static_cast<unsigned char>(text[cut]) & 0xc0) == 0x80; ++i) --cut;
  return cut;
}

}  // namespace

Result<bool> TextBlocks::next(std::string& block) {
  std::size_t cut = 0;
  for (std::size_t size = usual_; cut == 0; size = std::min(2 * size, at_most_)) {
    const bool more = fill(size);
    if (text_.bad()) return io_error("the text could not be read to its end");
    if (!more) {
      cut = buffer_.size();
      break;
    }
    cut = tokenizer_.last_cut(std::string_view(buffer_).substr(0, size));
    if (cut == 0 && size == at_most_) cut = forced_cut(buffer_, at_most_);
  }
  block.assign(buffer_, 0, cut);
  buffer_.erase(0, cut);
  return cut > 0;
}

// Reads until the buffer has more than `bytes`; false where the text ends before.
bool TextBlocks::fill(std::size_t bytes) {
  const std::size_t size = buffer_.size();
  if (size > bytes) return true;
  buffer_.resize(bytes + 1);
  text_.read(buffer_.data() + size, static_cast<std::streamsize>(buffer_.size() - size));
  buffer_.resize(size + static_cast<std::size_t>(text_.gcount()));
  return buffer_.size() > bytes;
}

}  // namespace tnl
