// Arguments of the sweep kernel.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "backend/cuda/lightning/work.h"

namespace tnl::cuda {

// log2 λ as a sum: the high part has few enough bits that its product with a small integer is
// exact.
struct HeadDecay {
  float high, low;
};

// fp32 [sequence, head, k, v] with any strides, in elements.
struct StateView {
  float* data;
  std::int64_t stride_sequence, stride_head, stride_k, stride_v;
};

// One call of the primitive (backend/attention_problem.h).
struct SweepCall {
  CUtensorMap q, k, v, o;  // [batch, head, token, column], boxes of 64 tokens by 64 columns
  StateView state_in, state_out;
  void* o_data;  // for the rows of a last, partial chunk
  std::int64_t o_stride_batch, o_stride_token, o_stride_head;
  float out_scale, value_scale;
  std::int32_t key_dim, value_dim;
  bool reverse, state_enters_undecayed, decay_state_out;
};

inline constexpr int kInlineHeads = 64;

struct SweepParams {
  SweepCall calls[kMaxCalls];
  HeadDecay inline_decay[kInlineHeads];
  const HeadDecay* decay;  // [heads]; nullptr: in inline_decay
  const WorkItem* work;    // one a group of blocks; nullptr: whole sequences, in order
  float4* slots;           // states between the launches of a segmented plan
  std::int32_t call_count, heads, tokens;  // read where work is nullptr
  std::int32_t blocks_per_item, value_tiles;
  bool await_tables;  // `work` or `decay` is being written by the kernel ahead in the stream
};

}  // namespace tnl::cuda
