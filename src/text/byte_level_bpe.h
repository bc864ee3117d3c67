// Byte-level BPE: words of a text, each merged from its bytes. What GPT-2's files, Hugging Face's
// tokenizer.json and tiktoken's rank files describe, each read by a file of its own.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "text/added_tokens.h"
#include "text/byte_pair.h"
#include "text/word_split.h"
#include "tnl/status.h"
#include "tnl/tokenizer.h"

namespace tnl {

struct ByteLevelBpe {
  std::string kind;                 // Tokenizer::kind()
  std::vector<std::string> pieces;  // bytes of each id; none of special ids and of gaps
  std::vector<bool> special;        // of each id
  std::int32_t byte_ids[256] = {};
  MergeTable merges{0};
  WordRule words = WordRule::kGpt2;
  bool whole_words = false;   // a word that is a token is that token, whatever the merges say
  bool prefix_space = false;  // a text that does not begin with a space gets one
  bool compose = false;       // texts are brought into Unicode's normalization form C
  // Matched before anything else, against the text as it is and as normalized.
  AddedTokens raw_tokens, normalized_tokens;
  std::int32_t bos = -1, eos = -1;
  struct File {
    std::string name, content;
  };
  std::vector<File> files;  // for save()
};

std::shared_ptr<const Tokenizer> make_byte_level_bpe(ByteLevelBpe vocabulary);

// Sets byte_ids from the pieces; an error where a byte has none.
Status find_bytes(ByteLevelBpe& vocabulary);

}  // namespace tnl
