#include "text/gpt2_split.h"

#include "text/unicode.h"

namespace tnl {
namespace {

// The length of 's, 't, 're, 've, 'm, 'll or 'd at `at`, where an apostrophe stands; or 0.
std::size_t contraction(std::string_view text, std::size_t at) {
  const std::string_view tail = text.substr(at + 1, 2);
  if (tail.empty()) return 0;
  if (tail == "re" || tail == "ve" || tail == "ll") return 3;
  return std::string_view("stmd").find(tail[0]) != std::string_view::npos ? 2 : 0;
}

// The end of the run of `wanted` that begins at `at`.
std::size_t run_end(std::string_view text, std::size_t at, CodeClass wanted) {
  std::size_t bytes = 0;
  while (at < text.size() && class_at(text, at, bytes) == wanted) at += bytes;
  return at;
}

// A run of spaces leaves its last one to the word that follows it, unless it is the only one.
std::size_t spaces_end(std::string_view text, std::size_t at) {
  std::size_t last = at, end = at, bytes = 0;
  while (end < text.size() && class_at(text, end, bytes) == CodeClass::kSpace) {
    last = end;
    end += bytes;
  }
  return end == text.size() || last == at ? end : last;
}

}  // namespace

std::size_t gpt2_word_end(std::string_view text, std::size_t at) {
  if (text[at] == '\'') {
    if (const std::size_t bytes = contraction(text, at); bytes > 0) return at + bytes;
  }
  std::size_t bytes = 0;
  const CodeClass first = class_at(text, at, bytes);
  if (first != CodeClass::kSpace) return run_end(text, at + bytes, first);
  if (text[at] == ' ' && at + 1 < text.size()) {
    const CodeClass second = class_at(text, at + 1, bytes);
    if (second != CodeClass::kSpace) return run_end(text, at + 1 + bytes, second);
  }
  return spaces_end(text, at);
}

std::size_t gpt2_last_cut(std::string_view text) {
  for (std::size_t cut = text.size(); cut-- > 1;) {
    const auto byte = static_cast<unsigned char>(text[cut]);
    if (byte >= 0x80 || code_class(byte) != CodeClass::kSpace) continue;
    if (class_before(text, cut) != CodeClass::kSpace) return cut;
  }
  return 0;
}

}  // namespace tnl
