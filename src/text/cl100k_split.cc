#include "text/cl100k_split.h"

#include <algorithm>

#include "text/unicode.h"

namespace tnl {
namespace {

bool newline(char byte) {
  return byte == '\r' || byte == '\n';
}

// The length of a contraction at `at`, where an apostrophe stands; or 0. Ignoring case the long s
// (U+017F) is an s.
std::size_t contraction(std::string_view text, std::size_t at) {
  const auto lower = [&](std::size_t offset) {
    const char byte = at + offset < text.size() ? text[at + offset] : '\0';
    return byte >= 'A' && byte <= 'Z' ? static_cast<char>(byte | 0x20) : byte;
  };
  const char first = lower(1), second = lower(2);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
  if ((first == 'r' || first == 'v') && second == 'e') return 3;
  if (first == 'l' && second == 'l') return 3;
  return text.substr(at + 1, 2) == "\xc5\xbf" ? 3 : 0;
}

// The end of the run of `wanted` that begins at `at`, at most so many characters long.
std::size_t run_end(std::string_view text, std::size_t at, CodeClass wanted,
                    std::size_t most = static_cast<std::size_t>(-1)) {
  std::size_t bytes = 0;
  for (; most > 0 && at < text.size() && class_at(text, at, bytes) == wanted; --most) at += bytes;
  return at;
}

std::size_t newlines_end(std::string_view text, std::size_t at) {
  while (at < text.size() && newline(text[at])) ++at;
  return at;
}

// A run of white space ends after its last newline. One without leaves its last character to the
// word that follows it, unless it is the only one.
std::size_t spaces_end(std::string_view text, std::size_t at, bool whole_tail) {
  std::size_t last = at, end = at, after_newline = at, bytes = 0;
  while (end < text.size() && class_at(text, end, bytes) == CodeClass::kSpace) {
    last = end;
    end += bytes;
    if (newline(text[last])) after_newline = end;
  }
  const bool tail = end == text.size();
  if (tail && whole_tail) return end;
  if (after_newline > at) return after_newline;
  return tail || last == at ? end : last;
}

}  // namespace

std::size_t cl100k_word_end(std::string_view text, std::size_t at, int digits, bool whole_tail) {
  if (text[at] == '\'') {
    if (const std::size_t bytes = contraction(text, at); bytes > 0) return at + bytes;
  }
  std::size_t bytes = 0;
  const CodeClass first = class_at(text, at, bytes);
  const std::size_t next = at + bytes;
  if (first == CodeClass::kLetter) return run_end(text, next, CodeClass::kLetter);
  if (first == CodeClass::kNumber) {
    return run_end(text, next, CodeClass::kNumber, static_cast<std::size_t>(digits) - 1);
  }
  const CodeClass second = next < text.size() ? class_at(text, next, bytes) : CodeClass::kSpace;
  if (second == CodeClass::kLetter && !newline(text[at])) {
    return run_end(text, next + bytes, CodeClass::kLetter);
  }
  if (first == CodeClass::kOther || (text[at] == ' ' && second == CodeClass::kOther)) {
    return newlines_end(text, run_end(text, next, CodeClass::kOther));
  }
  return spaces_end(text, at, whole_tail);
}

std::size_t cl100k_last_cut(std::string_view text) {
  for (std::size_t cut = text.size(); cut-- > 1;) {
    const auto byte = static_cast<unsigned char>(text[cut]);
    if (byte >= 0x80 || code_class(byte) != CodeClass::kSpace) continue;
    const CodeClass before = class_before(text, cut);
    if (before == CodeClass::kSpace) continue;
    if (before == CodeClass::kOther && newline(text[cut])) continue;
    return cut;
  }
  return 0;
}

}  // namespace tnl
