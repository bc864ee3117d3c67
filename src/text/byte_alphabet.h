// GPT-2's spelling of bytes as characters: printable Latin-1 as itself, the other 68 bytes as
// U+0100 and up in order.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace tnl {

class ByteAlphabet {
 public:
  ByteAlphabet();
  // The bytes that `word` spells; false where a character stands for no byte.
  bool spell(std::string_view word, std::string& bytes) const;

 private:
  std::array<std::int16_t, 0x100 + 68> bytes_;
};

}  // namespace tnl
