// GPT-2's byte-level BPE, from its two files.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "text/byte_pair.h"
#include "tnl/status.h"
#include "tnl/tokenizer.h"

namespace tnl {

// The two files, checked: ids 0 .. n - 1 each once, every byte a token, every merge of known
// tokens.
struct Gpt2Vocabulary {
  std::vector<std::string> pieces;  // bytes of each id
  std::int32_t byte_ids[256] = {};
  std::int32_t end_of_text = -1;  // <|endoftext|>
  MergeTable merges{0};
  std::string vocabulary_text, merges_text;  // the files as read, for save()

  static Result<Gpt2Vocabulary> load(const std::filesystem::path& vocabulary,
                                     const std::filesystem::path& merges);
};

std::shared_ptr<const Tokenizer> make_gpt2_tokenizer(Gpt2Vocabulary vocabulary);

}  // namespace tnl
