// The variants of the sweep kernel and what each takes of a multiprocessor. No CUDA types: the plan
// reads it too.
#pragma once

#include <cstddef>

#include "backend/cuda/lightning/work.h"

namespace tnl::cuda {

// Which operands of the tensor cores are split into a 16-bit value and a 16-bit remainder.
enum class Split {
  kNone,
  kScores,  // P: most of the error of o comes from its rounding, and its product is the cheapest
  kAll,     // P, S and the weighted V: all that is left is the rounding of the output
};

// kKeyTiles: K rounded up to tiles. kWorkers: math warpgroups of a block, each owning one tile of
// V. kCluster: blocks that share q and k by multicast.
template <int kKeyTiles_, int kWorkers_, int kStages_, int kCluster_, int kBlocksPerSm_,
          Split kSplit_>
struct SweepConfig {
  static constexpr int kKeyTiles = kKeyTiles_;
  static constexpr int kWorkers = kWorkers_;
  static constexpr int kStages = kStages_;
  static constexpr int kCluster = kCluster_;
  static constexpr int kBlocksPerSm = kBlocksPerSm_;
  static constexpr Split kSplit = kSplit_;

  static constexpr int kTileBytes = kTile * kTile * 2;
  static constexpr int kKeyBytes = kKeyTiles * kTileBytes;
  static constexpr int kValueBytes = kWorkers * kTileBytes;
  // A stage: q, k, v.
  static constexpr int kStageBytes = 2 * kKeyBytes + kValueBytes;
  static constexpr int kScoreBytes = (kSplit == Split::kNone ? 1 : 2) * kTileBytes;
  static constexpr int kThreads = (kWorkers + 1) * 128;
  static constexpr int kMathRegisters = kWorkers == 1 ? 232 : 240;
  static constexpr int kLoadRegisters = 24;
  // Tiles start at multiples of 1024; the tables and barriers are static shared memory.
  static constexpr std::size_t kSharedBytes =
      1024 + kStages * kStageBytes + kWorkers * (kScoreBytes + kTileBytes);
};

template <Split kSplit>
using Sweep64 = SweepConfig<1, 1, 3, 1, 2, kSplit>;
template <Split kSplit>
using Sweep128 = SweepConfig<2, 1, 2, 1, 2, kSplit>;
template <Split kSplit>
using Sweep128Pair = SweepConfig<2, 1, 2, 2, 2, kSplit>;
template <Split kSplit>
using Sweep256 = SweepConfig<4, 2, 2, 1, 1, kSplit>;

}  // namespace tnl::cuda
