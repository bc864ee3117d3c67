// The factors of one head that a sweep needs, in shared memory. All are λ^n with n >= 0, times the
// caller's scales; a reverse sweep uses the mirrored tables with the same loop.
#pragma once

#include "backend/cuda/lightning/params.cuh"

namespace tnl::cuda {

struct DecayTable {
  alignas(16) float between[128];  // [63 + i - j]: out_scale value_scale λ^|i-j|, 0 if j is later
  alignas(16) float to_row[64];    // [i]: out_scale λ^(1 + distance from the first row to i)
  alignas(16) float to_row_undecayed[64];  // without the 1: the caller's state enters as it is
  alignas(16) float to_end[64];            // [j]: value_scale λ^(distance from j to the last row)
  alignas(16) float to_last[64];           // the same up to the last token of a partial chunk
  float power[kChunk + 1];                 // λ^n
};

// λ^n, exact where λ is a power of two.
__device__ __forceinline__ float decay_power(HeadDecay decay, int n) {
  if (n == 0) return 1.f;
  const float a = n * decay.high, whole = rintf(a);
  return exp2f((a - whole) + n * decay.low) * exp2f(whole);
}

// By the first 128 threads of the block. last_tokens: how many tokens the last chunk holds.
__device__ __forceinline__ void fill_decay_table(DecayTable& table, HeadDecay decay,
                                                 const SweepCall& call, int last_tokens,
                                                 int thread) {
  const int n = thread;
  const bool reverse = call.reverse;
  if (n > kChunk) {
    if (n == 127) table.between[127] = 0.f;
    return;
  }
  const float x = decay_power(decay, n);
  table.power[n] = x;
  if (n > 0) table.to_row[reverse ? 64 - n : n - 1] = call.out_scale * x;
  if (n == kChunk) return;
  table.between[63 + (reverse ? -n : n)] = call.out_scale * call.value_scale * x;
  if (n > 0) table.between[63 + (reverse ? n : -n)] = 0.f;
  table.to_row_undecayed[reverse ? 63 - n : n] = call.out_scale * x;
  table.to_end[reverse ? n : 63 - n] = call.value_scale * x;
  // Row j of a partial chunk: forward the first rows hold tokens, in reverse the last ones.
  const int to_last = reverse ? n - (64 - last_tokens) : last_tokens - 1 - n;
  table.to_last[n] = to_last < 0 ? 0.f : call.value_scale * decay_power(decay, to_last);
}

}  // namespace tnl::cuda
