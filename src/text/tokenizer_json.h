// Hugging Face's tokenizer.json, of the byte-level BPE kind.
#pragma once

#include <filesystem>

#include "text/byte_level_bpe.h"
#include "tnl/status.h"

namespace tnl {

// What is read: the BPE model with its vocabulary, merges in both spellings and ignore_merges;
// added tokens; the normalizers none and NFC; the pre-tokenizers ByteLevel, and Split by a pattern
// that is known (GPT-2's, cl100k's and Qwen's) before ByteLevel; the ByteLevel decoder. Anything
// that would change ids or texts beyond that is refused by its name. Bos and eos come from
// tokenizer_config.json beside the file, or by their usual names; what the post-processor adds is
// not added.
//
// One difference to Hugging Face's encode is intended: special tokens that a text spells stay text.
Result<ByteLevelBpe> load_tokenizer_json(const std::filesystem::path& path);

}  // namespace tnl
