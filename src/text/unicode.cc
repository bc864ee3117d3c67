#include "text/unicode.h"

#include <algorithm>

namespace tnl {

CodePoint decode_utf8(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t offset) {
    return static_cast<std::uint32_t>(static_cast<unsigned char>(text[at + offset]));
  };
  const std::uint32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1, true};
  const CodePoint invalid{lead, 1, false};
  const std::uint32_t bytes = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || text.size() - at < bytes) return invalid;
  std::uint32_t value = lead & (0x7fu >> bytes);
  for (std::uint32_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xc0u) != 0x80u) return invalid;
    value = value << 6 | (byte(i) & 0x3fu);
  }
  constexpr std::uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  if (value < kLeast[bytes] || value > 0x10ffff || (value >= 0xd800 && value < 0xe000)) {
    return invalid;
  }
  return {value, bytes, true};
}

CodeClass code_class(std::uint32_t code) {
  if (code < 0x80) return kAsciiClasses[code];
  const std::uint32_t* end = kUnicodeChanges + kUnicodeChangeCount;
  const std::uint32_t* after = std::upper_bound(kUnicodeChanges, end, code << 2 | 3u);
  return static_cast<CodeClass>(after[-1] & 3u);
}

// The character is the one that some byte of the last four decodes to, up to `at`.
CodeClass class_before(std::string_view text, std::size_t at) {
  for (std::size_t back = 1; back <= std::min<std::size_t>(at, 4); ++back) {
    const CodePoint point = decode_utf8(text, at - back);
    if (point.valid && point.bytes == back) return code_class(point.value);
  }
  return CodeClass::kOther;
}

}  // namespace tnl
