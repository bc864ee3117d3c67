#include "core/printable.h"

#include <fmt/format.h>

namespace tnl {
namespace {

unsigned char byte_at(std::string_view text, std::size_t at) {
  return at < text.size() ? static_cast<unsigned char>(text[at]) : 0;
}

// Bytes of the control character at `at`, 0 where it is none: ASCII's, and U+0080 to U+009F.
std::size_t control_bytes(std::string_view text, std::size_t at) {
  const unsigned char byte = byte_at(text, at);
  if (byte < 0x20 || byte == 0x7f) return 1;
  const unsigned char next = byte_at(text, at + 1);
  return byte == 0xc2 && next >= 0x80 && next < 0xa0 ? 2 : 0;
}

}  // namespace

std::string printable(std::string_view text, std::size_t most) {
  std::string result;
  std::size_t end = text.size();
  if (end > most) {
    end = most;
    while (end > 0 && most - end < 3 && (byte_at(text, end) & 0xc0u) == 0x80u) --end;
  }
  for (std::size_t at = 0; at < end;) {
    const std::size_t control = control_bytes(text, at);
    for (std::size_t i = 0; i < control; ++i) {
      result += fmt::format("\\x{:02x}", byte_at(text, at + i));
    }
    if (control == 0) result += text[at];
    at += control == 0 ? 1 : control;
  }
  if (end < text.size()) result += "...";
  return result;
}

}  // namespace tnl
