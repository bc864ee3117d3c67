// What the kernel for sequences of one chunk takes of a multiprocessor.
#pragma once

#include "backend/cuda/lightning/sweep_config.h"

namespace tnl::cuda {

// Sequences of one chunk: no ring, two blocks of two tiles a multiprocessor.
template <Split kSplit>
struct Chunk128 : SweepConfig<2, 2, 0, 1, 2, kSplit> {
  static constexpr int kThreads = 256;  // all of them compute
};

}  // namespace tnl::cuda
