#include "backend/cuda/cost_model.h"

#include <algorithm>
#include <cmath>
#include <queue>
#include <vector>

namespace tnl::cuda {

namespace {

// Seconds of a chunk in a block that never waits for memory, measured (docs/kernels/sweep.md):
// alone on its multiprocessor, or beside a second one.
struct ChunkSeconds {
  double unsplit, state, all;
  double of(Split split) const {
    return split == Split::kNone ? unsplit : split == Split::kState ? state : all;
  }
};

ChunkSeconds measured(Kernel kernel, bool beside) {
  switch (kernel) {
    case Kernel::kSweep64:
      return beside ? ChunkSeconds{1.20e-6, 1.20e-6, 1.50e-6}
                    : ChunkSeconds{0.92e-6, 0.96e-6, 1.22e-6};
    case Kernel::kSweep64Single:
      return {0.75e-6, 0.85e-6, 1.09e-6};
    case Kernel::kSweep128:
      return beside ? ChunkSeconds{3.1e-6, 3.9e-6, 5.3e-6}
                    : ChunkSeconds{1.35e-6, 1.71e-6, 2.35e-6};
    case Kernel::kSweep128Single:
      return {0.98e-6, 1.19e-6, 1.47e-6};
    case Kernel::kChunk128:
      return {1.5e-6, 1.5e-6, 1.8e-6};
    case Kernel::kSweep256:
      return {2.74e-6, 3.43e-6, 4.38e-6};
    case Kernel::kSweep256Single:
      return {1.52e-6, 1.97e-6, 2.43e-6};
    case Kernel::kSweep64Pair:
      return {0.50e-6, 0.53e-6, 0.77e-6};
    default:
      return {};
  }
}

// The same of a kernel that runs on many devices: fitted on an H100
// (docs/kernels/lightning_sm80.md) and scaled by what is known of the others. The blocks of a
// multiprocessor share its units.
double modelled(Kernel kernel, Split split, const SweepShape& shape, int capability, bool beside) {
  // Multiply-adds a clock of a multiprocessor that accumulates in fp32.
  const bool hopper_or_later = capability == 90 || capability == 100 || capability == 103;
  const double tensor = hopper_or_later ? 1600 : capability == 80 ? 800 : 220;
  const double rate = 1.5e9 * (is_mma(kernel) ? tensor : 55);
  // Operands through shared memory, which every warp reads anew, and the barriers.
  const double fixed = is_mma(kernel) ? 1e-6 + 0.75e-6 * shape.key_tiles : 3e-6;
  const double keys = kTile * shape.key_tiles, values = kTile * shape.workers;
  const double splits = split == Split::kNone ? 2 : split == Split::kState ? 3 : 5;
  const double products = kChunk * (splits * keys * values + 32 * (keys + values));
  return (beside ? shape.blocks_per_multiprocessor : 1) * (fixed + products / rate);
}

// What a kernel that waits for memory reaches of a copy's bandwidth, measured likewise.
double bandwidth_share(Kernel kernel, bool beside, Segments segments) {
  switch (kernel) {
    case Kernel::kSweep64:
      return beside ? 0.965 : 1.0;
    case Kernel::kSweep64Single:
      return segments == Segments::kPlain ? 0.96 : 0.92;
    case Kernel::kSweep64Pair:
      // Runs that warm up lie apart: neighbouring rows are not read together.
      return segments == Segments::kPlain ? 0.985 : segments == Segments::kCarry ? 0.96 : 0.945;
    case Kernel::kSweep256Single:
      return 0.95;
    case Kernel::kSweep128Single:
      return 0.985;
    default:
      return 0.99;
  }
}

// What a kernel has under way at most. Blocks that take turns ask for less at a time: an H200 has
// more to give (docs/kernels/segments.md).
double most_bytes_per_second(Kernel kernel) {
  return kernel == Kernel::kSweep64Pair ? 3.6e12 : HUGE_VAL;
}

// Of a block: until its first chunk is there. A cluster's blocks wait for one another, and twice as
// many blocks for the memory.
double start_seconds(Kernel kernel, bool beside) {
  return kernel == Kernel::kSweep64Pair || (kernel == Kernel::kSweep64 && beside) ? 3.0e-6 : 1.5e-6;
}

}  // namespace

// The blocks of one item share q and k in the cache as long as they start together; the more waves
// there are, the less they do. Measured on backward passes of 384 to 6,144 items.
constexpr double kDriftShare = 0.9;
constexpr std::size_t kDriftWaves = 4;

double CostModel::pair_drift(double longest_run, Segments segments) {
  if (segments == Segments::kCarry) return 1 + 0.10 * std::min(1.0, longest_run / 2000);
  return 1 + 0.05 * std::clamp((longest_run - 500) / 1500, 0.0, 1.0);
}

CostModel::CostModel(Kernel kernel, Split split, const DeviceLimits& limits, int blocks_per_item,
                     double bytes_per_chunk)
    : shape_(sweep_shape(kernel, split, limits)),
      kernel_(kernel),
      split_(split),
      limits_(limits),
      blocks_per_item_(blocks_per_item),
      bytes_per_chunk_(bytes_per_chunk) {}

int CostModel::items(int blocks_per_multiprocessor) const {
  return std::max(1, limits_.multiprocessors * blocks_per_multiprocessor / blocks_per_item_);
}

double CostModel::product_seconds(bool beside) const {
  return is_row_kernel(kernel_) ? modelled(kernel_, split_, shape_, limits_.capability, beside)
                                : measured(kernel_, beside).of(split_);
}

double CostModel::chunk_seconds(std::size_t items, Segments segments, bool drifts) const {
  const bool beside = items > static_cast<std::size_t>(items_alone());
  const double rate = limits_.bytes_per_second * bandwidth_share(kernel_, beside, segments) *
                      (drifts ? kDriftShare : 1.0);
  const double memory = static_cast<double>(items) * bytes_per_chunk_ /
                        std::min(rate, most_bytes_per_second(kernel_));
  return std::max(product_seconds(beside), memory);
}

double CostModel::seconds(std::span<const double> chunks, Segments segments) const {
  if (chunks.empty()) return 0;
  const bool beside = chunks.size() > static_cast<std::size_t>(items_alone());
  const double start = start_seconds(kernel_, beside) / product_seconds(false);
  // When each place falls idle for good, in chunks.
  std::vector<double> ends;
  const auto places = static_cast<std::size_t>(items_at_once());
  if (chunks.size() <= places) {
    for (double x : chunks) ends.push_back(x + start);
  } else {
    std::priority_queue<double, std::vector<double>, std::greater<>> next(
        {}, std::vector<double>(places, 0.0));
    for (double x : chunks) {
      const double free = next.top();
      next.pop();
      next.push(free + x + start);
    }
    for (; !next.empty(); next.pop()) ends.push_back(next.top());
  }
  std::sort(ends.begin(), ends.end());
  double seconds = kLaunchSeconds, at = 0;
  const bool drifts = kernel_ != Kernel::kSweep64Pair && blocks_per_item_ > 1 &&
                      chunks.size() > kDriftWaves * places;
  for (std::size_t i = 0; i < ends.size(); ++i) {
    if (ends[i] > at) seconds += (ends[i] - at) * chunk_seconds(ends.size() - i, segments, drifts);
    at = ends[i];
  }
  return seconds;
}

}  // namespace tnl::cuda
