// One id for each byte, then bos and eos.
#pragma once

#include <memory>

#include "tnl/tokenizer.h"

namespace tnl {

inline constexpr char kByteTokenizerFile[] = "tnl_tokenizer.json";

std::shared_ptr<const Tokenizer> make_byte_tokenizer();

// The same, after checking that `file`, written by save(), says "bytes".
Result<std::shared_ptr<const Tokenizer>> load_byte_tokenizer(const std::filesystem::path& file);

}  // namespace tnl
