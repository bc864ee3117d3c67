// Arguments of the kernels that copy their operands row by row (mma.cuh, fma.cuh), and what these
// kernels share.
#pragma once

#include <cstdint>

#include "backend/cuda/lightning/params.cuh"
#include "backend/cuda/tile/decay_table.cuh"

namespace tnl::cuda {

// Strides in bytes.
struct RowOperand {
  char* data;
  std::int64_t stride_batch, stride_token, stride_head;
};

// One call of the primitive (backend/attention_problem.h).
struct RowCall {
  RowOperand q, k, v, o;
  StateView state_in, state_out;
  float out_scale, value_scale;
  std::int32_t key_dim, value_dim;
  bool reverse, state_enters_undecayed, decay_state_out;
};

// As SweepParams.
struct RowParams {
  RowCall calls[kMaxCalls];
  HeadDecay inline_decay[kInlineHeads];
  const HeadDecay* decay;
  const WorkItem* work;
  float4* slots;
  std::int32_t call_count, heads, tokens;
  std::int32_t blocks_per_item, value_tiles;
};

// Whole sequences of one length; the calls of a sequence and head lie side by side.
__device__ __forceinline__ WorkItem uniform_item(const RowParams& params, int index) {
  WorkItem item;
  item.call = index % params.call_count;
  item.head = index / params.call_count % params.heads;
  item.sequence = item.batch = index / params.call_count / params.heads;
  const RowCall& call = params.calls[item.call];
  item.tokens = params.tokens;
  item.row = call.reverse ? params.tokens : 0;
  item.state_in = call.state_in.data != nullptr ? kCallerState : kNoState;
  item.state_out = call.state_out.data != nullptr ? kCallerState : kNoState;
  return item;
}

// The steps of an item of kRows tokens each: first those that only build the state.
template <int kRows>
struct RowSteps {
  int warm, count, tokens;

  __device__ __forceinline__ explicit RowSteps(const WorkItem& item)
      : warm(item.warm_chunks * (kChunk / kRows)),
        count(warm + (item.tokens + kRows - 1) / kRows),
        tokens(item.tokens) {}
  __device__ __forceinline__ int tokens_of(int step) const {
    return step < warm ? kRows : min(tokens - (step - warm) * kRows, kRows);
  }
};

// Where the rows of the item's sequence and head lie, in the order of time. Kept in shared memory:
// in registers it would crowd out the state.
struct RowOrigin {
  char* data[4];  // q, k, v, o
  std::int64_t stride_token[4];

  __device__ __forceinline__ void fill(const RowCall& call, const WorkItem& item, int thread) {
    if (thread >= 4) return;
    const RowOperand& x = thread == 0   ? call.q
                          : thread == 1 ? call.k
                          : thread == 2 ? call.v
                                        : call.o;
    const std::int64_t first = call.reverse ? item.row - 1 : item.row;
    data[thread] =
        x.data + item.batch * x.stride_batch + item.head * x.stride_head + first * x.stride_token;
    stride_token[thread] = call.reverse ? -x.stride_token : x.stride_token;
  }
};

// The factors of one head, with the caller's scales, for steps of kRows tokens in the order of
// time.
template <int kRows>
struct RowDecay {
  float between[kRows];     // [i - j]: out_scale value_scale λ^(i - j)
  float to_row[kRows + 1];  // [i + 1]: out_scale λ^(i + 1); from [i] on: without the 1
  float to_end[2 * kRows];  // [kRows - n + j]: value_scale λ^(n - 1 - j), 0 for j >= n
  float power[kRows + 1];

  __device__ __forceinline__ void fill(HeadDecay decay, const RowCall& call, int thread) {
    if (thread > kRows) return;
    const float x = decay_power(decay, thread);
    power[thread] = x;
    to_row[thread] = call.out_scale * x;
    if (thread == kRows) return;
    between[thread] = call.out_scale * call.value_scale * x;
    to_end[kRows - 1 - thread] = call.value_scale * x;
    to_end[kRows + thread] = 0.f;
  }
};

__device__ __forceinline__ HeadDecay decay_of(const RowParams& params, int head) {
  return params.decay != nullptr ? params.decay[head] : params.inline_decay[head];
}

}  // namespace tnl::cuda
