// Walks over a row in vectors, with the tail through part loads.
#pragma once

#include "backend/cpu/simd/vec.h"

namespace tnl::TNL_TARGET {

// body(i, count): count is kLanes but for the tail.
template <class Body>
TNL_INLINE void for_vectors(std::int64_t n, const Body& body) {
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) body(i, std::int64_t{kLanes});
  if (i < n) body(i, n - i);
}

template <class T>
TNL_INLINE Vec load_up_to(const T* p, std::int64_t count) {
  return count == kLanes ? load(p) : load_part(p, count);
}
TNL_INLINE void store_up_to(float* p, Vec v, std::int64_t count) {
  if (count == kLanes) {
    store(p, v);
  } else {
    store_part(p, v, count);
  }
}

// 1 / (1 + e^-x), without overflow for any x.
TNL_INLINE Vec sigmoid(Vec x) {
  return 1.0f / (1.0f + exp(-x));
}

}  // namespace tnl::TNL_TARGET
