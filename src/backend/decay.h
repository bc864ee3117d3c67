// Powers of the decay λ = exp(log_decay), in fp64.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

namespace tnl {

// log2 λ. A log_decay that is -m ln 2 rounded to fp32 means λ = 2^-m: no fp32 number comes closer,
// and the powers of such a λ are exact. Elsewhere this is the logarithm as given.
inline double log2_decay(float log_decay) {
  constexpr double kLn2 = 0.69314718055994530942;
  const double log2 = static_cast<double>(log_decay) / kLn2;
  const double whole = std::nearbyint(log2);
  return static_cast<float>(whole * kLn2) == log_decay ? whole : log2;
}

// λ^distance, each from its own exponent: no running product. λ^0 is 1 also where λ is 0.
inline double decay_power(double log2_decay, std::int64_t distance) {
  return distance == 0 ? 1.0 : std::exp2(static_cast<double>(distance) * log2_decay);
}

// Tokens after which a weight has fallen to 2^-80: what is older is forgotten, for values that do
// not grow by as much. Infinite without decay.
inline double horizon_tokens(float log_decay) {
  constexpr double kForgotten = 80;
  const double log2 = log2_decay(log_decay);
  return log2 < 0 ? kForgotten / -log2 : std::numeric_limits<double>::infinity();
}

}  // namespace tnl
