#include "infer/utf8_stream.h"

namespace tnl {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";  // U+FFFD

}  // namespace

void Utf8Stream::push(std::string_view bytes, std::string& out) {
  for (const char character : bytes) {
    const auto byte = static_cast<unsigned char>(character);
    if (missing_ > 0 && (byte < low_ || byte > high_)) flush(out);
    if (missing_ == 0) {
      begin(byte, out);
      continue;
    }
    held_ += character;
    low_ = 0x80;
    high_ = 0xbf;
    if (--missing_ == 0) {
      out += held_;
      held_.clear();
    }
  }
}

void Utf8Stream::flush(std::string& out) {
  if (missing_ == 0) return;
  out += kReplacement;
  held_.clear();
  missing_ = 0;
}

// The second byte is bounded so that overlong forms, surrogates and what lies beyond U+10FFFF never
// begin (Unicode, table 3-7).
void Utf8Stream::begin(unsigned char byte, std::string& out) {
  low_ = 0x80;
  high_ = 0xbf;
  if (byte < 0x80) {
    out += static_cast<char>(byte);
    return;
  }
  if (byte >= 0xc2 && byte <= 0xdf) {
    missing_ = 1;
  } else if (byte >= 0xe0 && byte <= 0xef) {
    missing_ = 2;
    if (byte == 0xe0) low_ = 0xa0;
    if (byte == 0xed) high_ = 0x9f;
  } else if (byte >= 0xf0 && byte <= 0xf4) {
    missing_ = 3;
    if (byte == 0xf0) low_ = 0x90;
    if (byte == 0xf4) high_ = 0x8f;
  } else {
    out += kReplacement;
    return;
  }
  held_ = static_cast<char>(byte);
}

}  // namespace tnl
