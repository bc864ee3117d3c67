// What every role of a block of the sweep knows: its shared memory and the item it is working on.
#pragma once

#include "backend/cuda/lightning/fragments.cuh"
#include "backend/cuda/lightning/params.cuh"
#include "backend/cuda/lightning/sweep_config.h"
#include "backend/cuda/ptx/cluster.cuh"
#include "backend/cuda/tile/decay_table.cuh"
#include "backend/cuda/tile/ring.cuh"

namespace tnl::cuda {

template <class Config>
struct SharedState {
  DecayTable table;
  RingBarriers<Config::kStages> ring;  // q, k, v
  RingBarriers<2> scores;              // P, where a scorer makes it
};

// Whole sequences of one length; the calls of a sequence and head lie side by side.
__device__ __forceinline__ WorkItem uniform_item(const SweepParams& params, int index) {
  WorkItem item;
  item.call = index % params.call_count;
  item.head = index / params.call_count % params.heads;
  item.sequence = item.batch = index / params.call_count / params.heads;
  const SweepCall& call = params.call(item.call);
  item.tokens = params.tokens;
  item.row = call.reverse ? params.tokens : 0;
  item.state_in = call.state_in.data != nullptr ? kCallerState : kNoState;
  item.state_out = call.state_out.data != nullptr ? kCallerState : kNoState;
  return item;
}

__device__ __forceinline__ WorkItem packed_item(const SweepParams& params, int index) {
  const PackedItem& from = params.items()[index];
  WorkItem item;
  item.row = from.row;
  item.sequence = from.sequence;
  item.batch = params.packed ? 0 : from.sequence;
  item.head = from.head;
  item.call = from.call;
  item.warm_chunks = from.warm_chunks;
  item.tokens = from.tokens;
  item.state_in = from.state_in;
  item.state_out = from.state_out;
  return item;
}

// By whole warps: a word a lane, handed to all, so that the compiler knows them to be the same for
// the whole warp and keeps them in its uniform registers.
__device__ __forceinline__ WorkItem load_item(const WorkItem* from) {
  constexpr int kWords = sizeof(WorkItem) / 4;
  const int lane = threadIdx.x % 32;
  const int word = __ldg(reinterpret_cast<const int*>(from) + min(lane, kWords - 1));
  WorkItem item;
  int* to = reinterpret_cast<int*>(&item);
#pragma unroll
  for (int i = 0; i < kWords; ++i) to[i] = __shfl_sync(0xffffffffu, word, i);
  return item;
}

template <class Config>
struct Block {
  const SweepParams& params;
  SharedState<Config>& shared;
  const std::uint32_t tiles;  // start of the stages
  WorkItem item;
  int first_value_tile, chunks, last_tokens;  // of the last chunk
  int first_output;                           // the first chunk whose output this block makes
  int turns, turn;  // of the blocks of a cluster that make the outputs of chunks in turn

  __device__ __forceinline__ Block(const SweepParams& params_, SharedState<Config>& shared_,
                                   std::uint32_t tiles_)
      : params(params_), shared(shared_), tiles(tiles_) {
    const int group = blockIdx.x / params.blocks_per_item;
    const int part = blockIdx.x % params.blocks_per_item;
    turns = Config::kTurns > 1 ? params.turns : 1;
    turn = part % turns;
    first_value_tile = part / turns * Config::kWorkers;
    item = params.items_offset > 0  ? packed_item(params, group)
           : params.work != nullptr ? load_item(params.work + group)
                                    : uniform_item(params, group);
    const int outputs = (item.tokens + kChunk - 1) / kChunk;
    chunks = item.warm_chunks + outputs;
    last_tokens = outputs == 0 ? kChunk : item.tokens - (outputs - 1) * kChunk;
    first_output = item.warm_chunks + turn;
    if (turn > 0) item.state_out = kNoState;  // all have it, the first stores it
  }

  // Whether a worker of this block makes the output of a chunk.
  __device__ __forceinline__ bool makes_output(int c) const {
    if constexpr (Config::kTurns == 1) return c >= first_output;
    return c >= first_output && (c - first_output) % Config::kTurns == 0;
  }

  __device__ __forceinline__ const SweepCall& call() const { return params.call(item.call); }
  // The place of q among the stages': of the output number `index`, of the chunk in `stage`.
  static __device__ __forceinline__ int query_slot(int index, int stage) {
    return Config::kTurns > 1 ? index % Config::kQueries : stage;
  }
  __device__ __forceinline__ const DecayTable& table() const { return shared.table; }
  __device__ __forceinline__ std::uint32_t stage(int i) const {
    return tiles + i * Config::kStageBytes;
  }
  __device__ __forceinline__ std::uint32_t scores_tile(int i) const {
    return tiles + Config::kScoresOffset + i * Config::kScoreBytes;
  }
  __device__ __forceinline__ std::uint32_t query(int slot) const {
    return tiles + Config::kQueriesOffset + slot * Config::kKeyBytes;
  }
  // By a warp that has read all it needs of a stage: to those who fill it again.
  __device__ __forceinline__ void release(int stage, int lane) const {
    const std::uint32_t empty = shared.ring.empty_at(stage);
    if constexpr (Config::kTurns > 1) {
      if (lane < turns) ptx::mbarrier_arrive_at(empty, lane);
    } else if (lane == 0) {
      ptx::mbarrier_arrive(empty);
    }
  }
  // By 128 threads.
  __device__ __forceinline__ void fill_table(int thread) const {
    fill_decay_table(shared.table, params.decays()[item.head], call(), last_tokens, thread);
  }
  // Waits for a chunk and clears its rows that hold no token.
  __device__ __forceinline__ void await(RingPosition<Config::kStages> at, bool last, int barrier,
                                        int thread) const {
    ptx::mbarrier_wait(shared.ring.full_at(at.stage), at.parity);
    if (last && last_tokens < kChunk) {
      clear_missing_rows<Config>(stage(at.stage), last_tokens, call().reverse, thread);
      ptx::named_barrier(barrier, 128);
    }
  }
};

}  // namespace tnl::cuda
