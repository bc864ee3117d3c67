// GPT-2's vocabulary from its two files.
#pragma once

#include <filesystem>

#include "text/byte_level_bpe.h"
#include "tnl/status.h"

namespace tnl {

// vocab.json and merges.txt, checked: ids 0 .. n - 1 each once, every byte a token, every merge of
// known tokens. <|endoftext|>, where it is there, is bos and eos.
Result<ByteLevelBpe> load_gpt2_vocabulary(const std::filesystem::path& vocabulary,
                                          const std::filesystem::path& merges);

}  // namespace tnl
