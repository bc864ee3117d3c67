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

// kKeyTiles: K rounded up to tiles. kWorkers: warpgroups of a block that each own one tile of V.
// kScorers: 1 if a warpgroup of its own computes P for them, 0 if each does that itself. The last
// warpgroup loads. kTurns: blocks of a cluster that share the chunks of a run: each makes the
// output of every kTurns-th chunk and builds the state over all of them.
template <int kKeyTiles_, int kWorkers_, int kScorers_, int kStages_, int kBlocksPerSm_,
          Split kSplit_, int kTurns_ = 1>
struct SweepConfig {
  static constexpr int kKeyTiles = kKeyTiles_;
  static constexpr int kWorkers = kWorkers_;
  static constexpr int kScorers = kScorers_;
  static constexpr int kTurns = kTurns_;
  static constexpr int kStages = kStages_;
  static constexpr int kBlocksPerSm = kBlocksPerSm_;
  static constexpr Split kSplit = kSplit_;

  static constexpr int kTileBytes = kTile * kTile * 2;
  static constexpr int kKeyBytes = kKeyTiles * kTileBytes;
  static constexpr int kValueBytes = kWorkers * kTileBytes;
  // A stage: k, v. q has its own, one for each chunk of the stages whose output the block makes.
  static constexpr int kStageBytes = kKeyBytes + kValueBytes;
  static constexpr int kQueries = (kStages + kTurns - 1) / kTurns;
  // P, two of them where a scorer runs ahead of the workers, else one a worker.
  static constexpr int kScoreBuffers = kScorers > 0 ? 2 : kWorkers;
  static constexpr int kScoreBytes = (kSplit == Split::kAll ? 2 : 1) * kTileBytes;

  // With S as a whole operand in registers a worker overlaps the chunks, with two output tiles.
  static constexpr bool kPipelined = kScorers > 0 && kKeyTiles <= 2;
  static constexpr int kOutputTiles = kPipelined ? 2 : 1;

  static constexpr int kThreads = (kWorkers + kScorers + 1) * 128;
  static constexpr int kWorkerRegisters = kWorkers > 1 && kScorers > 0 ? 208
                                          : kBlocksPerSm > 1           ? 232
                                                                       : 240;
  static constexpr int kScorerRegisters = kWorkers > 1 ? 72 : 104;
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
template <Split kSplit>
using Sweep128Single = SweepConfig<2, 1, 1, 4, 1, kSplit>;
template <Split kSplit>
using Sweep256Single = SweepConfig<4, 1, 1, 2, 1, kSplit>;

// Two multiprocessors take turns at the chunks of one tile of V: runs as long as those of K = 128,
// so that fewer begin with what another one has read too.
template <Split kSplit>
using Sweep64Pair = SweepConfig<1, 1, 1, 8, 1, kSplit, 2>;

}  // namespace tnl::cuda
