// How long a launch of the sweep takes, estimated on the host: what a plan is chosen by.
#pragma once

#include <span>

#include "backend/cuda/plan.h"

namespace tnl::cuda {

class CostModel {
 public:
  // bytes_per_chunk: what one chunk of one item moves through device memory.
  CostModel(Kernel kernel, Split split, const DeviceLimits& limits, int blocks_per_item,
            double bytes_per_chunk);

  // Seconds of one launch whose items cost so many chunks each and start in this order. Blocks that
  // run at the same time advance at the same speed: that of their products, or their share of the
  // memory's bandwidth where that is less.
  double seconds(std::span<const double> chunks, Segments segments = Segments::kPlain) const;

  // Items that run at once, one block a multiprocessor or as many as fit.
  int items_alone() const { return items(1); }
  int items_at_once() const { return items(shape_.blocks_per_multiprocessor); }

  // A chunk that only builds the state, in units of a whole one: it reads k and v, half of the
  // bytes, and has one product of four.
  static constexpr double kWarmChunk = 0.5;
  // What it counts for where one call is cut into runs that end together: the blocks with the
  // longest warm-ups are the last to finish (measured, docs/kernels/segments.md).
  static constexpr double kWarmCut = 0.7;
  // How much longer pairs take whose calls drift apart: in a backward pass with runs of so many
  // chunks, measured.
  static double pair_drift(double longest_run, Segments segments);
  static constexpr double kLaunchSeconds = 3e-6;

 private:
  int items(int blocks_per_multiprocessor) const;
  double product_seconds(bool beside) const;
  double chunk_seconds(std::size_t items, Segments segments, bool drifts) const;

  SweepShape shape_;
  Kernel kernel_;
  Split split_;
  DeviceLimits limits_;
  int blocks_per_item_;
  double bytes_per_chunk_;
};

}  // namespace tnl::cuda
