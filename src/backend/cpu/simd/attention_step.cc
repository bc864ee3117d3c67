// One token: S <- λ S + k vᵀ and o = scale · Sᵀ q in a single pass over the state, which is all
// the memory traffic there is.
#include "backend/cpu/simd/attention.h"
#include "backend/cpu/simd/vec.h"

namespace tnl::TNL_TARGET {
namespace {

using cpu::AttentionStepTask;

constexpr int kKeys = 128;  // widened at a time

template <class T>
TNL_INLINE void widen(const T* source, std::int64_t count, float* target) {
  std::int64_t c = 0;
  for (; c + kLanes <= count; c += kLanes) store(target + c, load(source + c));
  if (c < count) store(target + c, load_part(source + c, count - c));
}

// Columns c .. c + kVectors vectors; the last of them holds `last` columns.
template <int kVectors, class T>
TNL_INLINE void columns(const AttentionStepTask& task, std::int64_t c, std::int64_t last) {
  Vec value[kVectors], out[kVectors];
  const T* v = static_cast<const T*>(task.v) + c;
  for (int x = 0; x < kVectors; ++x) {
    const bool whole = x + 1 < kVectors || last == kLanes;
    value[x] = (whole ? load(v + x * kLanes) : load_part(v + x * kLanes, last)) * task.value_scale;
    out[x] = Vec{};
  }
  for (std::int64_t block = 0; block < task.key_dim; block += kKeys) {
    const std::int64_t keys = task.key_dim - block < kKeys ? task.key_dim - block : kKeys;
    float q[kKeys], k[kKeys];
    widen(static_cast<const T*>(task.q) + block, keys, q);
    widen(static_cast<const T*>(task.k) + block, keys, k);
    float* state = task.state + block * task.stride_k + c;
    for (std::int64_t r = 0; r < keys; ++r, state += task.stride_k) {
#pragma GCC unroll 8
      for (int x = 0; x < kVectors; ++x) {
        float* p = state + x * kLanes;
        const bool whole = x + 1 < kVectors || last == kLanes;
        const Vec s = (whole ? load(p) : load_part(p, last)) * task.decay + value[x] * k[r];
        out[x] += s * q[r];
        if (whole) {
          store(p, s);
        } else {
          store_part(p, s, last);
        }
      }
    }
  }
  T* o = static_cast<T*>(task.o) + c;
  for (int x = 0; x < kVectors; ++x) {
    const Vec scaled = out[x] * task.out_scale;
    if (x + 1 < kVectors || last == kLanes) {
      store(o + x * kLanes, scaled);
    } else {
      store_part(o + x * kLanes, scaled, last);
    }
  }
}

template <class T>
void run(const AttentionStepTask& task) {
  std::int64_t c = 0;
  for (; c + 4 * kLanes <= task.value_dim; c += 4 * kLanes) columns<4, T>(task, c, kLanes);
  for (; c + kLanes <= task.value_dim; c += kLanes) columns<1, T>(task, c, kLanes);
  if (c < task.value_dim) columns<1, T>(task, c, task.value_dim - c);
}

}  // namespace

void attention_step(const AttentionStepTask& task) {
  switch (task.dtype) {
    case DType::kBF16:
      return run<BF16>(task);
    case DType::kF16:
      return run<F16>(task);
    default:
      return run<float>(task);
  }
}

}  // namespace tnl::TNL_TARGET
