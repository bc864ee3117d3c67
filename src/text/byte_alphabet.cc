#include "text/byte_alphabet.h"

#include "text/unicode.h"

namespace tnl {
namespace {

bool printable(std::uint32_t byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte != 0xad);
}

}  // namespace

ByteAlphabet::ByteAlphabet() {
  bytes_.fill(-1);
  std::uint32_t next = 0x100;
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    bytes_[printable(byte) ? byte : next++] = static_cast<std::int16_t>(byte);
  }
}

bool ByteAlphabet::spell(std::string_view word, std::string& bytes) const {
  bytes.clear();
  for (std::size_t at = 0; at < word.size();) {
    const CodePoint point = decode_utf8(word, at);
    if (!point.valid || point.value >= bytes_.size() || bytes_[point.value] < 0) return false;
    bytes.push_back(static_cast<char>(bytes_[point.value]));
    at += point.bytes;
  }
  return true;
}

}  // namespace tnl
