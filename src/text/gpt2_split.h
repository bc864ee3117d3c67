// GPT-2's pre-tokenization: the words inside which byte pairs may join.
#pragma once

#include <cstddef>
#include <string_view>

namespace tnl {

// Where the word that starts at `at` < text.size() ends. The words of a text are the matches of
//   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
// one behind the other. An invalid byte counts as neither letter, number nor space.
std::size_t gpt2_word_end(std::string_view text, std::size_t at);

// The largest position in (0, text.size()) where a word ends whatever follows: before an ASCII
// space character with no space before it. 0: none.
std::size_t gpt2_last_cut(std::string_view text);

}  // namespace tnl
