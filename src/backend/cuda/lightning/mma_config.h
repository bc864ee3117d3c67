// The variants of the sm_80 kernel and what each takes of a multiprocessor. No CUDA types: the plan
// reads it too.
#pragma once

#include <cstddef>

#include "backend/cuda/lightning/sweep_config.h"

namespace tnl::cuda {

// kKeyTiles: K rounded up to tiles. kWarps: warps of a block; each owns 16 columns of V.
template <int kKeyTiles_, int kWarps_, int kStages_, int kBlocksPerSm_, Split kSplit_>
struct MmaConfig {
  static constexpr int kKeyTiles = kKeyTiles_;
  static constexpr int kWarps = kWarps_;
  static constexpr int kStages = kStages_;
  static constexpr int kBlocksPerSm = kBlocksPerSm_;  // that the registers are held down for
  static constexpr Split kSplit = kSplit_;

  static constexpr int kRows = 32;  // tokens a step
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kWorkers = kWarps / 4;  // tiles of V
  // A stage: q, k, v, rows of 16-byte pieces swizzled by the row.
  static constexpr int kKeyPitch = kKeyTiles * kTile * 2;
  static constexpr int kValuePitch = kWorkers * kTile * 2;
  static constexpr int kKeyBytes = kRows * kKeyPitch;
  static constexpr int kStageBytes = 2 * kKeyBytes + kRows * kValuePitch;
  // P, its rows padded by 16 bytes; twice where it is split.
  static constexpr int kScorePitch = kRows * 2 + 16;
  static constexpr int kScoreBytes = kRows * kScorePitch;
  static constexpr int kScoresOffset = kStages * kStageBytes;
  static constexpr std::size_t kSharedBytes =
      kScoresOffset + (kSplit == Split::kAll ? 2 : 1) * kScoreBytes;
};

template <Split kSplit>
using Mma64 = MmaConfig<1, 4, 3, 4, kSplit>;
template <Split kSplit>
using Mma128 = MmaConfig<2, 8, 2, 2, kSplit>;
template <Split kSplit>
using Mma256 = MmaConfig<4, 8, 2, 1, kSplit>;

}  // namespace tnl::cuda
