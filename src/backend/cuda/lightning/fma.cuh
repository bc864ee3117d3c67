// The same sweep in fp32 arithmetic (docs/kernels/lightning_sm80.md), for fp32 data and for rows
// the other kernels cannot copy: any strides, any V, K <= 256.
//
// A block owns one tile of V, keeps S[K, 64] in shared memory and walks over one sequence and head:
//   P = q kᵀ, masked and decayed                                [rows, rows]
//   O = decay · q S + P V                                       [rows, 64]
//   S = λ^rows S + kᵀ (V · decay)                               [K, 64]
// Each product is cut into register tiles of the threads.
#pragma once

#include "backend/cuda/lightning/fma_config.h"
#include "backend/cuda/lightning/row_params.cuh"
#include "backend/cuda/tile/element.cuh"
#include "backend/cuda/tile/scalar.cuh"

namespace tnl::cuda {

// Four consecutive elements; those from `count` on are zeros, or left alone.
__device__ __forceinline__ float4 load_four(const float* x, int count) {
  if (count >= 4 && reinterpret_cast<std::uintptr_t>(x) % 16 == 0) {
    return __ldg(reinterpret_cast<const float4*>(x));
  }
  return make_float4(count > 0 ? x[0] : 0.f, count > 1 ? x[1] : 0.f, count > 2 ? x[2] : 0.f,
                     count > 3 ? x[3] : 0.f);
}
template <class T>
__device__ __forceinline__ float4 load_four(const T* x, int count) {
  if (count >= 4 && reinterpret_cast<std::uintptr_t>(x) % 8 == 0) {
    const uint2 y = __ldg(reinterpret_cast<const uint2*>(x));
    using E = Element<T>;
    return make_float4(E::low(y.x), E::high(y.x), E::low(y.y), E::high(y.y));
  }
  return make_float4(count > 0 ? to_float(x[0]) : 0.f, count > 1 ? to_float(x[1]) : 0.f,
                     count > 2 ? to_float(x[2]) : 0.f, count > 3 ? to_float(x[3]) : 0.f);
}
template <class T>
__device__ __forceinline__ void store_four(float4 x, T* y, int count) {
  if constexpr (sizeof(T) == 4) {
    if (count >= 4 && reinterpret_cast<std::uintptr_t>(y) % 16 == 0) {
      *reinterpret_cast<float4*>(y) = x;
      return;
    }
  }
  if (count > 0) from_float(x.x, y[0]);
  if (count > 1) from_float(x.y, y[1]);
  if (count > 2) from_float(x.z, y[2]);
  if (count > 3) from_float(x.w, y[3]);
}

__device__ __forceinline__ float4 four(const float* x) {
  return *reinterpret_cast<const float4*>(x);
}
__device__ __forceinline__ void add_product(float4& sum, float a, float4 x) {
  sum.x = fmaf(a, x.x, sum.x);
  sum.y = fmaf(a, x.y, sum.y);
  sum.z = fmaf(a, x.z, sum.z);
  sum.w = fmaf(a, x.w, sum.w);
}
__device__ __forceinline__ float element(float4 x, int i) {
  return i == 0 ? x.x : i == 1 ? x.y : i == 2 ? x.z : x.w;
}

template <class T, class Config>
struct FmaBlock {
  static constexpr int kRows = Config::kRows, kThreads = Config::kThreads, kKeys = Config::kKeys;
  static constexpr int kQuads = kTile / 4;           // threads along V
  static constexpr int kAcross = kThreads / kQuads;  // threads along rows, or along K
  static constexpr int kOwnRows = kRows / kAcross;   // rows of O a thread, kAcross apart
  // Of P: rows query + kDown i of q, key + 8 j of k.
  static constexpr int kDown = kThreads / 8;
  static constexpr int kOwnQueries = kRows < kDown ? 1 : kRows / kDown, kOwnKeys = kRows / 8;
  static constexpr int kOwnState = kKeys / kAcross < 8 ? kKeys / kAcross : 8;  // rows of S

  const RowCall& call;
  const RowDecay<kRows>& table;
  const RowOrigin& origin;
  float *S, *q, *k, *v, *P;
  int thread, quad, across, first_value;

  // Rows `time` .. of an operand into shared memory; what lies outside is zero.
  __device__ __forceinline__ void load_rows(float* to, int pitch, int which, int quads, int time,
                                            int tokens, int first_column, int columns) const {
    const char* base = origin.data[which];
    const std::int64_t stride = origin.stride_token[which];
#pragma unroll 4
    for (int i = thread; i < kRows * quads; i += kThreads) {
      const int row = i / quads, column = first_column + 4 * (i % quads);
      const T* x = reinterpret_cast<const T*>(base + (time + row) * stride) + column;
      *reinterpret_cast<float4*>(to + row * pitch + 4 * (i % quads)) =
          load_four(x, row < tokens ? columns - column : 0);
    }
  }

  __device__ __forceinline__ void compute_scores() const {
    const int query = thread / 8, key = thread % 8;
    if (query >= kRows) return;
    float p[kOwnQueries][kOwnKeys] = {};
#pragma unroll 4
    for (int c = 0; c < kKeys; c += 4) {
      float4 a[kOwnQueries], b[kOwnKeys];
#pragma unroll
      for (int i = 0; i < kOwnQueries; ++i)
        a[i] = four(q + (query + kDown * i) * Config::kKeyPitch + c);
#pragma unroll
      for (int j = 0; j < kOwnKeys; ++j) b[j] = four(k + (key + 8 * j) * Config::kKeyPitch + c);
#pragma unroll
      for (int i = 0; i < kOwnQueries; ++i) {
#pragma unroll
        for (int j = 0; j < kOwnKeys; ++j) {
          p[i][j] = fmaf(a[i].x, b[j].x, p[i][j]);
          p[i][j] = fmaf(a[i].y, b[j].y, p[i][j]);
          p[i][j] = fmaf(a[i].z, b[j].z, p[i][j]);
          p[i][j] = fmaf(a[i].w, b[j].w, p[i][j]);
        }
      }
    }
#pragma unroll
    for (int i = 0; i < kOwnQueries; ++i) {
#pragma unroll
      for (int j = 0; j < kOwnKeys; ++j) {
        const int row = query + kDown * i, column = key + 8 * j, age = row - column;
        P[row * Config::kScorePitch + column] = age < 0 ? 0.f : p[i][j] * table.between[age];
      }
    }
  }

  // o[i]: row across + kAcross i, columns 4 quad ..
  __device__ __forceinline__ void query_state(float4 (&o)[kOwnRows], const float* to_row) const {
#pragma unroll
    for (int i = 0; i < kOwnRows; ++i) o[i] = make_float4(0.f, 0.f, 0.f, 0.f);
#pragma unroll 2
    for (int c = 0; c < kKeys; c += 4) {
      float4 a[kOwnRows];
#pragma unroll
      for (int i = 0; i < kOwnRows; ++i)
        a[i] = four(q + (across + kAcross * i) * Config::kKeyPitch + c);
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const float4 s = four(S + (c + e) * kTile + 4 * quad);
#pragma unroll
        for (int i = 0; i < kOwnRows; ++i) add_product(o[i], element(a[i], e), s);
      }
    }
#pragma unroll
    for (int i = 0; i < kOwnRows; ++i) {
      const float f = to_row[across + kAcross * i];
      o[i] = make_float4(f * o[i].x, f * o[i].y, f * o[i].z, f * o[i].w);
    }
  }

  __device__ __forceinline__ void add_values(float4 (&o)[kOwnRows]) const {
#pragma unroll 2
    for (int j = 0; j < kRows; j += 4) {
      float4 a[kOwnRows];
#pragma unroll
      for (int i = 0; i < kOwnRows; ++i) {
        a[i] = four(P + (across + kAcross * i) * Config::kScorePitch + j);
      }
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const float4 x = four(v + (j + e) * kTile + 4 * quad);
#pragma unroll
        for (int i = 0; i < kOwnRows; ++i) add_product(o[i], element(a[i], e), x);
      }
    }
  }

  __device__ __forceinline__ void store_output(const float4 (&o)[kOwnRows], int time,
                                               int tokens) const {
    const int column = first_value + 4 * quad;
#pragma unroll
    for (int i = 0; i < kOwnRows; ++i) {
      const int row = across + kAcross * i;
      if (row >= tokens) continue;
      T* y = reinterpret_cast<T*>(origin.data[3] + (time + row) * origin.stride_token[3]) + column;
      store_four(o[i], y, call.value_dim - column);
    }
  }

  // kOwnState rows of S a thread at a time.
  __device__ __forceinline__ void update_state(float decay, const float* to_end) const {
#pragma unroll 1
    for (int key = kOwnState * across; key < kKeys; key += kOwnState * kAcross) {
      float4 s[kOwnState];
#pragma unroll
      for (int i = 0; i < kOwnState; ++i) {
        s[i] = four(S + (key + i) * kTile + 4 * quad);
        s[i] = make_float4(decay * s[i].x, decay * s[i].y, decay * s[i].z, decay * s[i].w);
      }
#pragma unroll 4
      for (int j = 0; j < kRows; ++j) {
        const float f = to_end[j];
        float4 x = four(v + j * kTile + 4 * quad);
        x = make_float4(f * x.x, f * x.y, f * x.z, f * x.w);
#pragma unroll
        for (int i = 0; i < kOwnState; i += 4) {
          const float4 a = four(k + j * Config::kKeyPitch + key + i);
#pragma unroll
          for (int e = 0; e < 4; ++e) add_product(s[i + e], element(a, e), x);
        }
      }
#pragma unroll
      for (int i = 0; i < kOwnState; ++i) {
        *reinterpret_cast<float4*>(S + (key + i) * kTile + 4 * quad) = s[i];
      }
    }
  }

  // Calls body(S's element, its place in the caller's state) for those that exist.
  template <class Body>
  __device__ __forceinline__ void for_each_element(const StateView& view, const WorkItem& item,
                                                   Body body) const {
    float* base = view.data + item.sequence * view.stride_sequence + item.head * view.stride_head;
    for (int i = thread; i < kKeys * kTile; i += kThreads) {
      const int key = i / kTile, value = first_value + i % kTile;
      if (key < call.key_dim && value < call.value_dim) {
        body(S[i], base + key * view.stride_k + value * view.stride_v);
      }
    }
  }
};

template <class T, class Config>
__global__ void __launch_bounds__(Config::kThreads, Config::kBlocksPerSm)
    fma_kernel(const __grid_constant__ RowParams params) {
  constexpr int kRows = Config::kRows;
  extern __shared__ __align__(16) float fma_shared[];
  __shared__ RowDecay<kRows> table;
  __shared__ RowOrigin origin;

  const int group = blockIdx.x / params.blocks_per_item, thread = threadIdx.x;
  const int value_tile = blockIdx.x % params.blocks_per_item;
  const WorkItem item = params.work != nullptr ? params.work[group] : uniform_item(params, group);
  const RowCall& call = params.calls[item.call];
  const FmaBlock<T, Config> block{call,
                                  table,
                                  origin,
                                  fma_shared,
                                  fma_shared + Config::kQueryOffset,
                                  fma_shared + Config::kKeyOffset,
                                  fma_shared + Config::kValueOffset,
                                  fma_shared + Config::kScoreOffset,
                                  thread,
                                  thread % FmaBlock<T, Config>::kQuads,
                                  thread / FmaBlock<T, Config>::kQuads,
                                  value_tile * kTile};
  const auto slot = [&](int index) {
    constexpr std::int64_t kVectors = Config::kKeys * kTile / 4;
    return params.slots + (std::int64_t{index} * params.value_tiles + value_tile) * kVectors;
  };

  origin.fill(call, item, thread);
  table.fill(decay_of(params, item.head), call, thread);
  float4* state = reinterpret_cast<float4*>(block.S);
  for (int i = thread; i < Config::kKeys * kTile / 4; i += Config::kThreads) {
    state[i] = item.state_in >= 0 ? slot(item.state_in)[i] : make_float4(0.f, 0.f, 0.f, 0.f);
  }
  bool undecayed = false;
  if (item.state_in == kCallerState) {
    undecayed = call.state_enters_undecayed;
    __syncthreads();
    block.for_each_element(call.state_in, item, [](float& s, const float* x) { s = *x; });
  }

  const RowSteps<kRows> steps(item);
#pragma unroll 1
  for (int step = 0; step < steps.count; ++step) {
    const int tokens = steps.tokens_of(step), late = step == 0 && undecayed ? 0 : 1;
    const int time = step * kRows;
    const bool output = step >= steps.warm;
    __syncthreads();
    if (output) {
      block.load_rows(block.q, Config::kKeyPitch, 0, Config::kKeys / 4, time, tokens, 0,
                      call.key_dim);
    }
    block.load_rows(block.k, Config::kKeyPitch, 1, Config::kKeys / 4, time, tokens, 0,
                    call.key_dim);
    block.load_rows(block.v, kTile, 2, kTile / 4, time, tokens, block.first_value, call.value_dim);
    __syncthreads();
    if (output) {
      float4 o[FmaBlock<T, Config>::kOwnRows];
      block.compute_scores();
      block.query_state(o, table.to_row + late);
      __syncthreads();
      block.add_values(o);
      block.store_output(o, time, tokens);
    }
    block.update_state(table.power[tokens - 1 + late], table.to_end + kRows - tokens);
  }

  __syncthreads();
  if (item.state_out == kCallerState) {
    // An empty sequence hands its state through: nothing entered, nothing decays.
    const bool through = item.tokens == 0 && call.state_enters_undecayed;
    const float factor = call.decay_state_out && !through ? table.power[1] : 1.f;
    block.for_each_element(call.state_out, item, [&](float s, float* x) { *x = factor * s; });
  } else if (item.state_out >= 0) {
    float4* to = slot(item.state_out);
    for (int i = thread; i < Config::kKeys * kTile / 4; i += Config::kThreads) to[i] = state[i];
  }
}

}  // namespace tnl::cuda
