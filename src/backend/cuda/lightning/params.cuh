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
  CUtensorMap q, k, v, o;  // [batch, head, tile, token, column of the tile] (tensor_map.h)
  StateView state_in, state_out;
  void* o_data;  // for the rows of a last, partial chunk
  std::int64_t o_stride_batch, o_stride_token, o_stride_head;
  float out_scale, value_scale;
  std::int32_t key_dim, value_dim;
  bool whole_tiles;  // one box of q, k or v holds all the tiles a block wants
  bool reverse, state_enters_undecayed, decay_state_out;
};

// The calls, the decay of the heads and the items lie in `data` one after the other: of one call
// with few heads enough room is left for the items of a plan for few sequences. Together no more
// than a kernel's arguments may take without being slower to launch.
struct SweepParams {
  alignas(64) unsigned char data[4096 - 64];
  const HeadDecay* decay;  // [heads]; nullptr: in data
  const WorkItem* work;    // one a group of blocks; nullptr: packed in data, or whole sequences
  float4* slots;           // states between the launches of a segmented plan
  std::int32_t call_count, heads,
      tokens;  // read where there are no items: whole sequences, in order
  std::int16_t decay_offset, items_offset;  // in data; 0: not there
  std::int16_t blocks_per_item, value_tiles;
  std::int16_t turns;  // blocks of an item that take turns at its chunks, side by side
  bool packed;         // a packed batch: every sequence lies in batch 0

  __host__ __device__ const SweepCall& call(int i) const {
    return reinterpret_cast<const SweepCall*>(data)[i];
  }
  __host__ __device__ const HeadDecay* decays() const {
    return decay != nullptr ? decay : reinterpret_cast<const HeadDecay*>(data + decay_offset);
  }
  __host__ __device__ const PackedItem* items() const {
    return reinterpret_cast<const PackedItem*>(data + items_offset);
  }
};
static_assert(sizeof(SweepParams) <= 4096);

}  // namespace tnl::cuda
