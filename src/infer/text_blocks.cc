#include "infer/text_blocks.h"

#include <algorithm>
#include <utility>

namespace tnl {
namespace {

constexpr std::size_t kReadBytes = std::size_t{64} << 10;

bool white(char byte) {
  return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

bool continues_character(char byte) {
  return (static_cast<unsigned char>(byte) & 0xc0) == 0x80;
}

}  // namespace

Result<bool> TextBlocks::next(std::string& block) {
  std::size_t searched = at_least_;
  std::size_t cut = newline_cut(searched);
  while (cut == 0) {
    if (buffer_.size() > at_most_) {
      cut = forced_cut();
    } else if (read()) {
      cut = newline_cut(searched);
    } else {
      if (text_.bad()) return io_error("the text could not be read to its end");
      cut = buffer_.size();
      break;
    }
  }
  block.assign(buffer_, 0, cut);
  buffer_.erase(0, cut);
  return cut > 0;
}

bool TextBlocks::read() {
  const std::size_t size = buffer_.size();
  buffer_.resize(size + kReadBytes);
  text_.read(buffer_.data() + size, static_cast<std::streamsize>(kReadBytes));
  buffer_.resize(size + static_cast<std::size_t>(text_.gcount()));
  return buffer_.size() > size;
}

// The length of the shortest block that may end, or 0; shorter than `searched` were looked at.
std::size_t TextBlocks::newline_cut(std::size_t& searched) const {
  for (; searched < buffer_.size() && searched <= at_most_; ++searched) {
    if (buffer_[searched - 1] == '\n' && !white(buffer_[searched])) return searched;
  }
  return 0;
}

std::size_t TextBlocks::forced_cut() const {
  std::size_t cut = at_most_;
  while (cut > at_most_ - 3 && continues_character(buffer_[cut])) --cut;
  return cut;
}

}  // namespace tnl
