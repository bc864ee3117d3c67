// A 64-bit checksum against damage by accident, at memory speed.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace tnl {

inline constexpr std::uint64_t kChecksumStart = 0x243f6a8885a308d3u;

// Mixes in `bytes` bytes, a multiple of 8.
inline std::uint64_t checksum(std::uint64_t sum, const void* data, std::size_t bytes) {
  const auto* next = static_cast<const unsigned char*>(data);
  for (std::size_t i = 0; i < bytes; i += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, next + i, 8);
    sum = std::rotl((sum ^ word) * 0x9e3779b97f4a7c15u, 29);
  }
  return sum;
}

// The finalizer of splitmix64: every bit of the input changes half of the output.
inline std::uint64_t mix64(std::uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

}  // namespace tnl
