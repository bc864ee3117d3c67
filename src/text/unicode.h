// UTF-8 decoding that never fails, and the classes of code points that the splits into words ask
// for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace tnl {

enum class CodeClass : std::uint8_t { kOther, kLetter, kNumber, kSpace };

struct CodePoint {
  std::uint32_t value = 0;
  std::uint32_t bytes = 1;
  bool valid = true;  // false: one byte that begins no well-formed character
};

// The character at `at` < text.size(); overlong forms, surrogates and cut sequences are invalid.
CodePoint decode_utf8(std::string_view text, std::size_t at);

// \p{L}, \p{N}, White_Space, or none of them.
CodeClass code_class(std::uint32_t code);

// The class of the character at `at`; an invalid byte is kOther. Sets `bytes` to its length.
inline CodeClass class_at(std::string_view text, std::size_t at, std::size_t& bytes) {
  const CodePoint point = decode_utf8(text, at);
  bytes = point.bytes;
  return point.valid ? code_class(point.value) : CodeClass::kOther;
}

// The class of the character that ends at `at` > 0; kOther where none that is well-formed does.
CodeClass class_before(std::string_view text, std::size_t at);

// Ascending: (first code point << 2 | class) of each run of one class; unicode_tables.cc.
extern const std::uint32_t kUnicodeChanges[];
extern const std::size_t kUnicodeChangeCount;

}  // namespace tnl
