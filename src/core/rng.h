// xoshiro256** (Blackman and Vigna): small, fast, and its whole state is four words that a
// checkpoint can hold. The same seed gives the same numbers on every platform.
#pragma once

#include <array>
#include <cstdint>

namespace tnl {

class Rng {
 public:
  using State = std::array<std::uint64_t, 4>;

  explicit Rng(std::uint64_t seed = 0);

  std::uint64_t next();
  double uniform();                          // [0, 1), 53 bits
  std::uint64_t below(std::uint64_t bound);  // [0, bound), unbiased; bound > 0
  double normal();                           // mean 0, variance 1; uses two draws, keeps none

  const State& state() const { return state_; }
  void set_state(const State& state) { state_ = state; }

 private:
  State state_;
};

}  // namespace tnl
