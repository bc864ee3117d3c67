// The pre-tokenization of cl100k_base and of the many vocabularies that took it over.
#pragma once

#include <cstddef>
#include <string_view>

namespace tnl {

// Where the word that starts at `at` < text.size() ends. The words of a text are the matches of
//   (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*
//   |\s*[\r\n]+|\s+(?!\S)|\s+
// one behind the other, with `digits` in place of 3. `whole_tail` puts \s+$ before \s*[\r\n]+, as
// tiktoken has it: white space at the end of the text is then one word even where it holds a
// newline. An invalid byte counts as neither letter, number nor space.
std::size_t cl100k_word_end(std::string_view text, std::size_t at, int digits, bool whole_tail);

// The largest position in (0, text.size()) where a word ends whatever follows: before an ASCII
// space character with no space before it, and no newline where punctuation stands before. 0: none.
std::size_t cl100k_last_cut(std::string_view text);

}  // namespace tnl
