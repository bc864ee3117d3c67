// Sᵀ between registers and memory: the caller's strided states, and the slots of the workspace,
// which keep the fragments as they are.
#pragma once

#include "backend/cuda/lightning/params.cuh"
#include "backend/cuda/ptx/sync.cuh"

namespace tnl::cuda {

template <int kKeyTiles, class Params>
__device__ __forceinline__ float4* slot_of(const Params& params, int slot, int value_tile,
                                           int value_tiles, int thread) {
  constexpr std::int64_t kVectors = kKeyTiles * 8 * 128;
  return params.slots + (std::int64_t{slot} * value_tiles + value_tile) * kVectors + thread;
}

// Calls body(register, pointer) for every element of the caller's state this thread owns.
template <int kKeyTiles, class Call, class Lane, class Body>
__device__ __forceinline__ void for_each_element(const StateView& view, const Call& call,
                                                 const WorkItem& item, int value_tile,
                                                 const Lane& at, Body body) {
  const int value = value_tile * kTile + 16 * at.warp + at.group;
  float* row = view.data + item.sequence * view.stride_sequence + item.head * view.stride_head +
               value * view.stride_v + at.pair * view.stride_k;
#pragma unroll
  for (int n = 0; n < 8 * kKeyTiles; ++n) {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int key = 8 * n + at.pair + e % 2;
      if (key < call.key_dim && value + 8 * (e / 2) < call.value_dim) {
        body(4 * n + e, row + (8 * (e / 2)) * view.stride_v + (e % 2) * view.stride_k);
      }
    }
    row += 8 * view.stride_k;
  }
}

// Returns whether the state enters undecayed at the first token.
template <int kKeyTiles, class Params, class Call, class Lane>
__device__ __forceinline__ bool load_state(float (&s)[32 * kKeyTiles], const Params& params,
                                           const Call& call, const WorkItem& item, int value_tile,
                                           const Lane& at) {
#pragma unroll
  for (int i = 0; i < 32 * kKeyTiles; ++i) s[i] = 0.f;
  if (item.state_in == kCallerState) {
    for_each_element<kKeyTiles>(call.state_in, call, item, value_tile, at,
                                [&](int i, const float* x) { s[i] = *x; });
    return call.state_enters_undecayed;
  }
  if (item.state_in >= 0) {
    ptx::wait_for_previous_grid();
    const float4* x =
        slot_of<kKeyTiles>(params, item.state_in, value_tile, params.value_tiles, at.thread);
#pragma unroll
    for (int i = 0; i < 8 * kKeyTiles; ++i) {
      const float4 f = __ldcg(x + i * 128);
      s[4 * i] = f.x;
      s[4 * i + 1] = f.y;
      s[4 * i + 2] = f.z;
      s[4 * i + 3] = f.w;
    }
  }
  return false;
}

template <int kKeyTiles, class Params, class Call, class Lane>
__device__ __forceinline__ void store_state(float (&s)[32 * kKeyTiles], const Params& params,
                                            const Call& call, const WorkItem& item, float decay,
                                            int value_tile, const Lane& at) {
  if (item.state_out == kCallerState) {
    // An empty sequence hands its state through: nothing entered, nothing decays.
    const bool through = item.tokens == 0 && call.state_enters_undecayed;
    const float factor = call.decay_state_out && !through ? decay : 1.f;
    for_each_element<kKeyTiles>(call.state_out, call, item, value_tile, at,
                                [&](int i, float* x) { *x = factor * s[i]; });
  } else if (item.state_out >= 0) {
    float4* x =
        slot_of<kKeyTiles>(params, item.state_out, value_tile, params.value_tiles, at.thread);
#pragma unroll
    for (int i = 0; i < 8 * kKeyTiles; ++i) {
      x[i * 128] = make_float4(s[4 * i], s[4 * i + 1], s[4 * i + 2], s[4 * i + 3]);
    }
  }
}

}  // namespace tnl::cuda
