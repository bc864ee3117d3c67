// CRC-32C (Castagnoli), as iSCSI (RFC 3720) and TensorFlow's record files use it.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace tnl {

inline std::uint32_t crc32c(std::string_view bytes) {
  static constexpr auto kTable = [] {
    std::array<std::uint32_t, 256> table{};
    for (std::uint32_t byte = 0; byte < 256; ++byte) {
      std::uint32_t rest = byte;
      for (int bit = 0; bit < 8; ++bit) rest = rest >> 1 ^ ((rest & 1) != 0 ? 0x82f63b78u : 0u);
      table[byte] = rest;
    }
    return table;
  }();
  std::uint32_t crc = ~0u;
  for (const char byte : bytes) {
    crc = crc >> 8 ^ kTable[(crc ^ static_cast<unsigned char>(byte)) & 0xffu];
  }
  return ~crc;
}

}  // namespace tnl
