// Names and text of unknown origin, made fit for a message.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace tnl {

// At most `most` bytes of `text`, and "..." where there are more. Control characters, which a
// terminal would obey and which could pass for a line of ours, become \xNN.
std::string printable(std::string_view text, std::size_t most = 60);

}  // namespace tnl
