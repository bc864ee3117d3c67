#include "text/normalize.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "core/try.h"
#include "text/unicode.h"

namespace tnl {
namespace {

Status append_composed(std::string_view valid, std::string& out) {
  if (valid.empty()) return {};
  utf8proc_uint8_t* composed = nullptr;
  const utf8proc_ssize_t bytes =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(valid.data()),
                   static_cast<utf8proc_ssize_t>(valid.size()), &composed,
                   static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owned(composed, &std::free);
  if (bytes < 0)
    return io_error(std::string("cannot normalize the text: ") + utf8proc_errmsg(bytes));
  out.append(reinterpret_cast<const char*>(composed), static_cast<std::size_t>(bytes));
  return {};
}

}  // namespace

bool is_ascii(std::string_view text) {
  return std::none_of(text.begin(), text.end(),
                      [](char byte) { return static_cast<unsigned char>(byte) >= 0x80; });
}

Result<std::string> normalize_c(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  std::size_t begin = 0;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint point = decode_utf8(text, at);
    if (!point.valid) {
      TNL_TRY(append_composed(text.substr(begin, at - begin), out));
      out += text[at];
      begin = at + 1;
    }
    at += point.bytes;
  }
  TNL_TRY(append_composed(text.substr(begin), out));
  return out;
}

}  // namespace tnl
