// Pre-tokenization: the words inside which byte pairs may join, by the rule of a vocabulary.
#pragma once

#include <cstddef>
#include <string_view>

#include "text/cl100k_split.h"
#include "text/gpt2_split.h"

namespace tnl {

enum class WordRule {
  kGpt2,           // gpt2_split.h
  kCl100k,         // cl100k_split.h, numbers of up to three digits
  kCl100kTail,     // the same, and white space at the end of the text is one word
  kCl100kOneDigit  // as kCl100k, each digit for itself (Qwen)
};

// Where the word that starts at `at` < text.size() ends.
inline std::size_t word_end(WordRule rule, std::string_view text, std::size_t at) {
  switch (rule) {
    case WordRule::kGpt2:
      return gpt2_word_end(text, at);
    case WordRule::kCl100k:
      return cl100k_word_end(text, at, 3, false);
    case WordRule::kCl100kTail:
      return cl100k_word_end(text, at, 3, true);
    case WordRule::kCl100kOneDigit:
      return cl100k_word_end(text, at, 1, false);
  }
  return text.size();
}

// The largest position in (0, text.size()) where a word ends whatever follows, before an ASCII
// space character with no space before it. 0: none.
inline std::size_t word_last_cut(WordRule rule, std::string_view text) {
  return rule == WordRule::kGpt2 ? gpt2_last_cut(text) : cl100k_last_cut(text);
}

}  // namespace tnl
