// UTF-8 decoding that never fails, and the classes of code points that the splits into words ask
// for.
#pragma once

#include <array>
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

// Of the code points below 0x80: most text, so it is looked up in place.
inline constexpr auto kAsciiClasses = [] {
  std::array<CodeClass, 128> classes{};
  for (unsigned code = 0; code < classes.size(); ++code) {
    const bool letter = (code | 0x20u) - 'a' < 26u, number = code - '0' < 10u;
    const bool space = code == ' ' || code - '\t' < 5u;
    classes[code] = letter   ? CodeClass::kLetter
                    : number ? CodeClass::kNumber
                    : space  ? CodeClass::kSpace
                             : CodeClass::kOther;
  }
  return classes;
}();

// \p{L}, \p{N}, White_Space, or none of them.
CodeClass code_class(std::uint32_t code);

// The class of the character at `at`; an invalid byte is kOther. Sets `bytes` to its length.
inline CodeClass class_at(std::string_view text, std::size_t at, std::size_t& bytes) {
  bytes = 1;
  const auto byte = static_cast<unsigned char>(text[at]);
  if (byte < 0x80) return kAsciiClasses[byte];
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
