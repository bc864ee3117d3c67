// Bytes in any pieces to text in whole UTF-8 characters.
#pragma once

#include <string>
#include <string_view>

namespace tnl {

// What comes out, all taken together, is always well-formed UTF-8 and depends on the bytes alone,
// not on how they were cut. Each longest piece that begins a character but does not complete one,
// and each other byte that belongs to none, becomes one U+FFFD (the practice of Unicode, chapter
// 3.9, "maximal subparts", and of the WHATWG decoder).
class Utf8Stream {
 public:
  // Appends to `out` the characters that are complete; the beginning of one is held back.
  void push(std::string_view bytes, std::string& out);
  // The text ends here: what is held back becomes U+FFFD.
  void flush(std::string& out);
  // What is held back; pushed to a new stream, it puts that into this state.
  const std::string& held() const { return held_; }

 private:
  void begin(unsigned char byte, std::string& out);

  std::string held_;                        // the first bytes of a character
  int missing_ = 0;                         // how many more it needs
  unsigned char low_ = 0x80, high_ = 0xbf;  // range of the next of them
};

}  // namespace tnl
