// The variants of the fp32 kernel and what each takes of a multiprocessor. No CUDA types: the plan
// reads it too.
#pragma once

#include <cstddef>

#include "backend/cuda/lightning/work.h"

namespace tnl::cuda {

// kKeyTiles: K rounded up to tiles; a block owns one tile of V. kRows: tokens a step.
template <int kKeyTiles_, int kRows_, int kThreads_, int kBlocksPerSm_>
struct FmaConfig {
  static constexpr int kKeyTiles = kKeyTiles_;
  static constexpr int kWorkers = 1;
  static constexpr int kRows = kRows_;
  static constexpr int kBlocksPerSm = kBlocksPerSm_;
  static constexpr int kThreads = kThreads_;

  static constexpr int kKeys = kKeyTiles * kTile;
  // In floats; rows of q, k and P are padded so that those a warp reads lie in different banks.
  static constexpr int kKeyPitch = kKeys + 4;
  static constexpr int kScorePitch = kRows + 4;
  static constexpr int kQueryOffset = kKeys * kTile;  // behind S
  static constexpr int kKeyOffset = kQueryOffset + kRows * kKeyPitch;
  static constexpr int kValueOffset = kKeyOffset + kRows * kKeyPitch;
  static constexpr int kScoreOffset = kValueOffset + kRows * kTile;
  static constexpr std::size_t kSharedBytes = sizeof(float) * (kScoreOffset + kRows * kScorePitch);
};

using Fma64 = FmaConfig<1, 32, 256, 3>;
using Fma128 = FmaConfig<2, 32, 256, 2>;
using Fma256 = FmaConfig<4, 8, 128, 2>;

}  // namespace tnl::cuda
