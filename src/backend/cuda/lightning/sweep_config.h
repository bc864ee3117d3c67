// The variants of the sweep kernel and what each takes of a multiprocessor. No CUDA types: the plan
// reads it too.
#pragma once

#include <cstddef>

#include "backend/cuda/lightning/work.h"

namespace tnl::cuda {

// Which operands of the tensor cores are split into a 16-bit value and a 16-bit remainder.
enum class Split {
  kNone,
  kState,  // S: its rounding is what long horizons suffer from
  kAll,    // S, the weighted V and P: all that is left is the rounding of the output
};

// kKeyTiles: K rounded up to tiles. kWorkers: warpgroups of a block that each own one tile of V, or
// take turns at the chunks of one. kScorers: 1 if a warpgroup of its own computes P for them, 0 if
// each does that itself. The last warpgroup loads. kTurns: workers that share the chunks of a tile:
// each makes the output of every kTurns-th chunk and builds the state over all of them.
template <int kKeyTiles_, int kWorkers_, int kScorers_, int kStages_, int kBlocksPerSm_,
          Split kSplit_, int kBlockTurns_ = 1, int kWorkerTurns_ = 1>
struct SweepConfig {
  static constexpr int kKeyTiles = kKeyTiles_;
  static constexpr int kWorkers = kWorkers_;
  static constexpr int kScorers = kScorers_;
  static constexpr int kBlockTurns = kBlockTurns_;
  static constexpr int kWorkerTurns = kWorkerTurns_;
  static constexpr int kTurns = kBlockTurns * kWorkerTurns;
  static constexpr int kValueTiles = kWorkers / kWorkerTurns;  // of a block
  static constexpr int kStages = kStages_;
  static constexpr int kBlocksPerSm = kBlocksPerSm_;
  static constexpr Split kSplit = kSplit_;

  static constexpr int kTileBytes = kTile * kTile * 2;
  static constexpr int kKeyBytes = kKeyTiles * kTileBytes;
  static constexpr int kValueBytes = kValueTiles * kTileBytes;
  // A stage: k, v. q has its own, one for each chunk of the stages whose output the block makes.
  static constexpr int kStageBytes = kKeyBytes + kValueBytes;
  static constexpr int kQueries = (kStages + kBlockTurns - 1) / kBlockTurns;
  // P, two of them where a scorer runs ahead of the workers, else one a worker.
  static constexpr int kScoreBuffers = kScorers > 0 ? 2 : kWorkers;
  static constexpr int kScoreBytes = (kSplit == Split::kAll ? 2 : 1) * kTileBytes;

  // With S as a whole operand in registers a worker overlaps the chunks, with two output tiles.
  static constexpr bool kPipelined = kScorers > 0 && kKeyTiles <= 2;
  static constexpr int kOutputTiles = kPipelined ? 2 : 1;

  static constexpr int kThreads = (kWorkers + kScorers + 1) * 128;
  static constexpr int kWorkerRegisters = kWorkerTurns > 1 && kSplit != Split::kAll ? 200
                                          : kWorkers > 1 && kScorers > 0            ? 208
                                          : kBlocksPerSm > 1                        ? 232
                                                                                    : 240;
  static constexpr int kScorerRegisters = kWorkerTurns > 1 && kSplit != Split::kAll ? 88
                                          : kWorkers > 1                            ? 72
                                                                                    : 104;
  static constexpr int kLoaderRegisters = 24;

  // Tiles start at multiples of 1024; the tables and barriers are static shared memory.
  static constexpr int kQueriesOffset = kStages * kStageBytes;
  static constexpr int kScoresOffset = kQueriesOffset + kQueries * kKeyBytes;
  static constexpr int kOutputOffset = kScoresOffset + kScoreBuffers * kScoreBytes;
  static constexpr std::size_t kSharedBytes =
      1024 + kOutputOffset + kWorkers * kOutputTiles * kTileBytes;
};

// Two tiles of V a multiprocessor: the least traffic between it and the L2 cache.
template <Split kSplit>
using Sweep64 = SweepConfig<1, 1, 0, 3, 2, kSplit>;
template <Split kSplit>
using Sweep128 = SweepConfig<2, 2, 1, 3, 1, kSplit>;
template <Split kSplit>
using Sweep256 = SweepConfig<4, 2, 0, 2, 1, kSplit>;

// One tile of V a multiprocessor: the shortest time a chunk, for calls of few sequences and heads.
template <Split kSplit>
using Sweep64Single = SweepConfig<1, 1, 1, 6, 1, kSplit>;
// Two multiprocessors, or two workers of one, take turns at the chunks.
template <Split kSplit>
using Sweep64Pair = SweepConfig<1, 1, 1, 8, 1, kSplit, 2>;
template <Split kSplit>
using Sweep64Quad = SweepConfig<1, 1, 1, 8, 1, kSplit, 4>;
template <Split kSplit>
using Sweep64Twin = SweepConfig<1, 2, 1, 8, 1, kSplit, 2, 2>;
template <Split kSplit>
using Sweep128Single = SweepConfig<2, 1, 1, 4, 1, kSplit>;
template <Split kSplit>
using Sweep256Single = SweepConfig<4, 1, 1, 2, 1, kSplit>;

}  // namespace tnl::cuda
