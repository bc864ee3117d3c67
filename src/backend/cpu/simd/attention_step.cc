// Some tokens of one sequence and head: S <- λ S + k vᵀ and o = scale · Sᵀ q for one after the
// other, in a single pass over the state, which is all the memory traffic there is.
#include "backend/cpu/simd/attention.h"
#include "backend/cpu/simd/vec.h"

namespace tnl::TNL_TARGET {
namespace {

using cpu::AttentionRows;
using cpu::AttentionStepTask;

constexpr int kKeys = 128;  // widened at a time

template <class T>
TNL_INLINE void widen(const T* source, std::int64_t count, float* target) {
  std::int64_t c = 0;
  for (; c + kLanes <= count; c += kLanes) store(target + c, load(source + c));
  if (c < count) store(target + c, load_part(source + c, count - c));
}

template <class T>
TNL_INLINE T* row(const AttentionRows& rows, int token) {
  return static_cast<T*>(rows.data) + token * rows.stride;
}

// Columns c .. c + kVectors vectors; the last of them holds `last` columns.
template <int kVectors, int kTokens, class T>
TNL_INLINE void columns(const AttentionStepTask& task, std::int64_t c, std::int64_t last) {
  const auto whole = [last](int x) { return x + 1 < kVectors || last == kLanes; };
  const bool with_output = task.o.data != nullptr;
  Vec value[kTokens][kVectors], out[kTokens][kVectors];
  for (int t = 0; t < kTokens; ++t) {
    const T* v = row<const T>(task.v, t) + c;
    for (int x = 0; x < kVectors; ++x) {
      const Vec stored = whole(x) ? load(v + x * kLanes) : load_part(v + x * kLanes, last);
      value[t][x] = stored * task.value_scale;
      out[t][x] = Vec{};
    }
  }
  for (std::int64_t block = 0; block < task.key_dim; block += kKeys) {
    const std::int64_t keys = task.key_dim - block < kKeys ? task.key_dim - block : kKeys;
    float q[kTokens][kKeys], k[kTokens][kKeys];
    for (int t = 0; t < kTokens; ++t) {
      widen(row<const T>(with_output ? task.q : task.k, t) + block, keys, q[t]);
      widen(row<const T>(task.k, t) + block, keys, k[t]);
    }
    float* state = task.state + block * task.stride_k + c;
    for (std::int64_t r = 0; r < keys; ++r, state += task.stride_k) {
#pragma GCC unroll 8
      for (int x = 0; x < kVectors; ++x) {
        float* p = state + x * kLanes;
        Vec s = whole(x) ? load(p) : load_part(p, last);
#pragma GCC unroll 8
        for (int t = 0; t < kTokens; ++t) {
          s = multiply_add(s, broadcast(task.decay), value[t][x] * k[t][r]);
          out[t][x] = multiply_add(s, broadcast(q[t][r]), out[t][x]);
        }
        if (!task.keep_state) continue;
        if (whole(x)) {
          store(p, s);
        } else {
          store_part(p, s, last);
        }
      }
    }
  }
  if (!with_output) return;
  for (int t = 0; t < kTokens; ++t) {
    T* o = row<T>(task.o, t) + c;
    for (int x = 0; x < kVectors; ++x) {
      const Vec scaled = out[t][x] * task.out_scale;
      if (whole(x)) {
        store(o + x * kLanes, scaled);
      } else {
        store_part(o + x * kLanes, scaled, last);
      }
    }
  }
}

// As many columns at a time as leave the sums in registers.
template <int kTokens, class T>
void run(const AttentionStepTask& task) {
  constexpr int kVectors = kTokens == 1 ? 4 : kTokens <= 4 ? 2 : 1;
  std::int64_t c = 0;
  for (; c + kVectors * kLanes <= task.value_dim; c += kVectors * kLanes) {
    columns<kVectors, kTokens, T>(task, c, kLanes);
  }
  for (; c + kLanes <= task.value_dim; c += kLanes) columns<1, kTokens, T>(task, c, kLanes);
  if (c < task.value_dim) columns<1, kTokens, T>(task, c, task.value_dim - c);
}

template <class T>
void run_tokens(const AttentionStepTask& task) {
  switch (task.tokens) {
    case 1:
      return run<1, T>(task);
    case 2:
      return run<2, T>(task);
    case 3:
      return run<3, T>(task);
    case 4:
      return run<4, T>(task);
    case 5:
      return run<5, T>(task);
    case 6:
      return run<6, T>(task);
    case 7:
      return run<7, T>(task);
    case 8:
      return run<8, T>(task);
  }
}

}  // namespace

void attention_step(const AttentionStepTask& task) {
  switch (task.dtype) {
    case DType::kBF16:
      return run_tokens<BF16>(task);
    case DType::kF16:
      return run_tokens<F16>(task);
    default:
      return run_tokens<float>(task);
  }
}

}  // namespace tnl::TNL_TARGET
