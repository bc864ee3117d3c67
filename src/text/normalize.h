// Unicode's normalization form C, through utf8proc.
#pragma once

#include <string>
#include <string_view>

#include "tnl/status.h"

namespace tnl {

bool is_ascii(std::string_view text);

// Bytes that are no well-formed UTF-8 stay as they are.
Result<std::string> normalize_c(std::string_view text);

}  // namespace tnl
