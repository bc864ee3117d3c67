// Decode: up to eight tokens for each of many sequences, S = λ S + k (value_scale v)ᵀ,
// o = out_scale Sᵀ q, with one read and one write of S for all of them.
//
// A block owns some columns of V of one sequence and head and all rows of K, so that no sum crosses
// a block. A thread reads S in pieces of four columns, keeps several rows in flight, takes them
// through all tokens in registers, and writes them back where they came from.
#pragma once

#include <algorithm>

#include "backend/cuda/ptx/sync.cuh"
#include "backend/cuda/step.h"
#include "backend/cuda/tile/element.cuh"
#include "backend/cuda/tile/scalar.cuh"

namespace tnl::cuda {

inline constexpr int kStepThreads = 128;
inline constexpr int kStepWarps = kStepThreads / 32;
// Of one launch: these tables are arguments.
inline constexpr int kMaxStepSlots = 128, kMaxStepDecays = 64;

struct StepOperand {
  const char* data;
  std::int64_t stride_batch, stride_token, stride_head;
};

struct StepParams {
  StepOperand q, k, v, o, replay_k, replay_v;
  float* state;
  std::int64_t stride_sequence, stride_head, stride_k;
  const std::int32_t *slots, *accepted;
  const float* decay;
  std::int64_t first_sequence;
  std::int32_t first_head, key_dim, value_dim, tokens, replay_tokens;
  std::int32_t lanes, lane_bits;  // threads along the columns of a block
  float out_scale, value_scale;
  bool keep_state, slots_inline, vector_values;
  std::int32_t slot[kMaxStepSlots];
  float decays[kMaxStepDecays];  // λ
};

template <class T>
__device__ __forceinline__ const T* row_of(const StepOperand& x, std::int64_t n, int token,
                                           std::int64_t h) {
  return reinterpret_cast<const T*>(x.data) + n * x.stride_batch + token * x.stride_token +
         h * x.stride_head;
}

// Four values of v, times the scale; vector: they lie at a multiple of their size.
template <class T>
__device__ __forceinline__ float4 load_values(const T* x, float scale, bool vector) {
  float4 y;
  if (!vector) {
    y = make_float4(to_float(x[0]), to_float(x[1]), to_float(x[2]), to_float(x[3]));
  } else if constexpr (sizeof(T) == 4) {
    y = *reinterpret_cast<const float4*>(x);
  } else {
    const uint2 two = *reinterpret_cast<const uint2*>(x);
    y = make_float4(Element<T>::low(two.x), Element<T>::high(two.x), Element<T>::low(two.y),
                    Element<T>::high(two.y));
  }
  return make_float4(scale * y.x, scale * y.y, scale * y.z, scale * y.w);
}

// s = λ s + k v for one row of S.
__device__ __forceinline__ float4 advance(float4 s, float decay, float k, float4 v) {
  return make_float4(fmaf(k, v.x, decay * s.x), fmaf(k, v.y, decay * s.y),
                     fmaf(k, v.z, decay * s.z), fmaf(k, v.w, decay * s.w));
}

__device__ __forceinline__ float4 add(float4 a, float4 b) {
  return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
}

// Shared memory, in floats: k and q of every row and token; then the replayed k, and v. The sums of
// the warps use the same memory afterwards.
template <int kTokens, bool kReplay>
constexpr std::size_t step_shared_floats(std::size_t key_dim) {
  const std::size_t keys = key_dim * 2 * kTokens;
  const std::size_t replay =
      kReplay ? key_dim * kMostStepTokens + kMostStepTokens * kMostStepColumns : 0;
  return std::max<std::size_t>(keys + replay, kTokens * kStepWarps * kMostStepColumns);
}

// A few rows of S in registers.
template <int kRows>
struct StateRows {
  float4 s[kRows];

  __device__ __forceinline__ void load(const float* state, std::int64_t stride, int first, int step,
                                       int count) {
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const int at = first + i * step;
      if (at < count) s[i] = *reinterpret_cast<const float4*>(state + at * stride);
    }
  }
  __device__ __forceinline__ void store(float* state, std::int64_t stride, int first, int step,
                                        int count) const {
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const int at = first + i * step;
      if (at < count) *reinterpret_cast<float4*>(state + at * stride) = s[i];
    }
  }
};

// One row of K of `tokens` tokens: all of its loads in flight together, then into shared memory.
template <class T, int kTokens>
struct KeyRow {
  T x[kTokens];

  __device__ __forceinline__ void load(const T* from, std::int64_t stride, int tokens) {
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
      if (t < tokens) x[t] = from[t * stride];
    }
  }
  __device__ __forceinline__ void store(float* to, int tokens) const {
#pragma unroll
    for (int t = 0; t < kTokens; ++t) to[t] = t < tokens ? to_float(x[t]) : 0.f;
  }
};

// Adds the sums of the rows that the threads hold and writes o.
template <class T, int kTokens>
__device__ __forceinline__ void write_output(const StepParams& p, float4 (&sum)[kTokens],
                                             float4* shared, int tokens, std::int64_t n,
                                             std::int64_t head) {
  const int thread = threadIdx.x, lane = thread & (p.lanes - 1);
#pragma unroll
  for (int t = 0; t < kTokens; ++t) {
    if (kTokens > 1 && t >= tokens) break;
    for (int offset = p.lanes; offset < 32; offset *= 2) {
      sum[t] = add(sum[t], make_float4(__shfl_xor_sync(0xffffffffu, sum[t].x, offset),
                                       __shfl_xor_sync(0xffffffffu, sum[t].y, offset),
                                       __shfl_xor_sync(0xffffffffu, sum[t].z, offset),
                                       __shfl_xor_sync(0xffffffffu, sum[t].w, offset)));
    }
    if (thread % 32 < p.lanes) shared[(t * kStepWarps + thread / 32) * p.lanes + lane] = sum[t];
  }
  __syncthreads();
  for (int i = thread; i < tokens * p.lanes; i += kStepThreads) {
    const int t = i >> p.lane_bits, at = i & (p.lanes - 1);
    const int to = 4 * (blockIdx.x * p.lanes + at);
    if (to >= p.value_dim) continue;
    float4 x = shared[t * kStepWarps * p.lanes + at];
#pragma unroll
    for (int warp = 1; warp < kStepWarps; ++warp) {
      x = add(x, shared[(t * kStepWarps + warp) * p.lanes + at]);
    }
    T* o = const_cast<T*>(row_of<T>(p.o, n, t, head)) + to;
    from_float(p.out_scale * x.x, o[0]);
    from_float(p.out_scale * x.y, o[1]);
    from_float(p.out_scale * x.z, o[2]);
    from_float(p.out_scale * x.w, o[3]);
  }
}

template <class T, int kTokens, bool kReplay>
__global__ void __launch_bounds__(kStepThreads, kTokens == 1 ? 8
                                                : kReplay    ? 3
                                                             : 4)
    step_kernel(const __grid_constant__ StepParams p) {
  // One token is all memory: many rows at once. More of them also compute: meanwhile the next rows
  // are under way.
  constexpr bool kAhead = kTokens > 1;
  constexpr int kRows = kAhead ? 4 : 8;
  extern __shared__ float4 shared[];
  const int K = p.key_dim, thread = threadIdx.x;
  const int lane = thread & (p.lanes - 1), row = thread >> p.lane_bits;
  const int step = kStepThreads >> p.lane_bits;  // rows of S at a time
  const std::int64_t n = p.first_sequence + blockIdx.z, head = p.first_head + blockIdx.y;
  const std::int64_t slot = p.slots != nullptr ? p.slots[n]
                            : p.slots_inline   ? p.slot[blockIdx.z]
                                               : n;
  if (slot < 0) return;
  const int column = 4 * (blockIdx.x * p.lanes + lane);
  const bool inside = column < p.value_dim;
  const int count = inside ? K : 0;  // rows of S that this thread has
  float* state = p.state + slot * p.stride_sequence + head * p.stride_head + column;
  StateRows<kRows> now;
  now.load(state, p.stride_k, row, step, count);  // under way before anything is waited for
  ptx::wait_for_previous_grid();
  ptx::launch_next_grid();

  const float decay = p.decay != nullptr ? p.decay[head] : p.decays[blockIdx.y];
  const int tokens = kTokens == 1 ? 1 : p.tokens;
  const int replayed = kReplay ? min(max(p.accepted[n], 0), p.replay_tokens) : 0;
  float* keys = reinterpret_cast<float*>(shared);  // [K][k of the tokens, q of the tokens]
  float* replay_keys = keys + K * 2 * kTokens;     // [K][kMostStepTokens]
  float* replay_values = replay_keys + K * kMostStepTokens;  // [kMostStepTokens][4 lanes]
  // q, k and v are asked for before any of them is waited for: one trip to memory for all.
  KeyRow<T, kTokens> k, q;
  KeyRow<T, kReplay ? kMostStepTokens : 1> replay_k;
  const auto load_keys = [&](int i) {
    k.load(row_of<T>(p.k, n, 0, head) + i, p.k.stride_token, tokens);
    q.load(row_of<T>(p.q, n, 0, head) + i, p.q.stride_token, tokens);
    if constexpr (kReplay) {
      replay_k.load(row_of<T>(p.replay_k, n, 0, head) + i, p.replay_k.stride_token, replayed);
    }
  };
  if (thread < K) load_keys(thread);
  float4 v[kTokens], sum[kTokens];
#pragma unroll
  for (int t = 0; t < kTokens; ++t) {
    sum[t] = v[t] = make_float4(0.f, 0.f, 0.f, 0.f);
    if (inside && t < tokens) {
      v[t] = load_values(row_of<T>(p.v, n, t, head) + column, p.value_scale, p.vector_values);
    }
  }
#pragma unroll 1
  for (int i = thread; i < K;) {
    k.store(keys + i * 2 * kTokens, tokens);
    q.store(keys + i * 2 * kTokens + kTokens, tokens);
    if constexpr (kReplay) replay_k.store(replay_keys + i * kMostStepTokens, replayed);
    i += kStepThreads;
    if (i < K) load_keys(i);
  }
  if constexpr (kReplay) {
    for (int t = row; t < replayed && inside; t += step) {
      reinterpret_cast<float4*>(replay_values)[t * p.lanes + lane] =
          load_values(row_of<T>(p.replay_v, n, t, head) + column, p.value_scale, p.vector_values);
    }
  }
  __syncthreads();

#pragma unroll 1
  for (int first = row;;) {
    const int following = first + step * kRows;
    StateRows<kRows> next;
    if constexpr (kAhead) next.load(state, p.stride_k, following, step, count);
    if constexpr (kReplay) {
#pragma unroll 4
      for (int t = 0; t < replayed; ++t) {
        const float4 x = reinterpret_cast<const float4*>(replay_values)[t * p.lanes + lane];
#pragma unroll
        for (int i = 0; i < kRows; ++i) {
          const int at = min(first + i * step, K - 1);
          now.s[i] = advance(now.s[i], decay, replay_keys[at * kMostStepTokens + t], x);
        }
      }
      if (!p.keep_state && replayed > 0) now.store(state, p.stride_k, first, step, count);
    }
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const int at = first + i * step;
      if (at >= K) break;
      const float* kq = keys + at * 2 * kTokens;
#pragma unroll
      for (int t = 0; t < kTokens; ++t) {
        if (kTokens > 1 && t >= tokens) break;
        float4& s = now.s[i];
        s = advance(s, decay, kq[t], v[t]);
        const float q = kq[kTokens + t];
        sum[t] = make_float4(fmaf(q, s.x, sum[t].x), fmaf(q, s.y, sum[t].y), fmaf(q, s.z, sum[t].z),
                             fmaf(q, s.w, sum[t].w));
      }
    }
    if (p.keep_state) now.store(state, p.stride_k, first, step, count);
    if (following >= K) break;
    first = following;
    if constexpr (kAhead) {
      now = next;
    } else {
      now.load(state, p.stride_k, first, step, count);
    }
  }
  __syncthreads();  // the keys are read: their memory takes the sums
  write_output<T>(p, sum, shared, tokens, n, head);
}

}  // namespace tnl::cuda
