// JSON out of files that nobody vouches for, and what of them may stand in a message.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace tnl {

// Deeper than 64 levels. Walking a value (copies, comparison, dump) takes stack for every level.
bool nests_too_deep(std::string_view text);

// Discarded where `text` is not JSON or nests too deep.
nlohmann::json parse_json(std::string_view text);

// The value as ASCII of at most 60 bytes.
std::string shown(const nlohmann::json& value);

// True and the value where `json` is an integer that an int64 holds.
bool take_integer(const nlohmann::json& json, std::int64_t& value);

}  // namespace tnl
