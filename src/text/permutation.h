// A random order of 0 .. n - 1 that needs no memory: place i can be asked for at once.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "core/checksum.h"

namespace tnl {

// A Feistel network on the smallest even number of bits that holds n, walked until it lands below
// n.
class Permutation {
 public:
  Permutation(std::uint64_t n, std::uint64_t key)
      : n_(n),
        key_(key),
        half_(std::max(4, (static_cast<int>(std::bit_width(n > 0 ? n - 1 : 0)) + 1) / 2)) {}

  std::uint64_t operator()(std::uint64_t i) const {
    do i = scramble(i);
    while (i >= n_);
    return i;
  }

 private:
  std::uint64_t scramble(std::uint64_t value) const {
    const std::uint64_t mask = (std::uint64_t{1} << half_) - 1;
    std::uint64_t left = value >> half_, right = value & mask;
    for (std::uint64_t round = 0; round < kRounds; ++round) {
      const std::uint64_t next = left ^ (mix64(right ^ mix64(key_ + round)) & mask);
      left = right;
      right = next;
    }
    return left << half_ | right;
  }

  static constexpr std::uint64_t kRounds = 6;
  std::uint64_t n_, key_;
  int half_;
};

}  // namespace tnl
