// Walks over rows of any width: whole vectors, then one part of a vector. A body is called as
// body(i, lanes) and reads and writes through lanes.load(p + i) and lanes.store(p + i, v).
#pragma once

#include "backend/cpu/simd/vec.h"

namespace tnl::TNL_TARGET {

struct WholeLanes {
  template <class T>
  __attribute__((always_inline)) Vec load(const T* p) const {
    return TNL_TARGET::load(p);
  }
  template <class T>
  __attribute__((always_inline)) void store(T* p, Vec v) const {
    TNL_TARGET::store(p, v);
  }
};

struct PartLanes {
  std::int64_t count;
  template <class T>
  __attribute__((always_inline)) Vec load(const T* p) const {
    return load_part(p, count);
  }
  template <class T>
  __attribute__((always_inline)) void store(T* p, Vec v) const {
    store_part(p, v, count);
  }
};

template <class Body>
TNL_INLINE void sweep(std::int64_t n, const Body& body) {
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) body(i, WholeLanes{});
  if (i < n) body(i, PartLanes{n - i});
}

// The sum of term(i, lanes). Absent lanes load as 0, so a term must be 0 where its loads are.
template <class Term>
TNL_INLINE float sum(std::int64_t n, const Term& term) {
  Vec a{}, b{}, c{}, d{};
  std::int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    a += term(i, WholeLanes{});
    b += term(i + kLanes, WholeLanes{});
    c += term(i + 2 * kLanes, WholeLanes{});
    d += term(i + 3 * kLanes, WholeLanes{});
  }
  for (; i + kLanes <= n; i += kLanes) a += term(i, WholeLanes{});
  if (i < n) b += term(i, PartLanes{n - i});
  return reduce_add((a + b) + (c + d));
}

TNL_INLINE Vec sigmoid(Vec x) {
  return 1.0f / (1.0f + exp(-x));
}

struct SigmoidPair {
  Vec value, complement;  // σ(x) and 1 - σ(x), each to its own last digits
};
TNL_INLINE SigmoidPair sigmoid_pair(Vec x) {
  const Vec e = exp(-x);
  const Vec value = 1.0f / (1.0f + e);
  return {value, select(x < -80.0f, broadcast(1.0f), e * value)};  // there e may be infinite
}

}  // namespace tnl::TNL_TARGET
