// tiktoken's rank files: a token in base64 and its rank on each line. The rank is the id.
#pragma once

#include <filesystem>

#include "text/byte_level_bpe.h"
#include "tnl/status.h"

namespace tnl {

inline constexpr char kTiktokenConfigFile[] = "tiktoken_config.json";

// Two neighbours join where what they spell together is a token, the one of lowest rank first.
// tiktoken_config.json beside the file says what the file does not:
//   {"words": "cl100k",                                  or "gpt2", the rule that splits into words
//    "special_tokens": {"<|endoftext|>": 100257},        ids that no rank has
//    "bos_token": null, "eos_token": "<|endoftext|>"}
// Without it the published sizes are known: 100256 ranks are cl100k_base, 50256 GPT-2.
Result<ByteLevelBpe> load_tiktoken(const std::filesystem::path& path);

}  // namespace tnl
