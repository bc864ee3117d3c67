#include "backend/cuda/cost_model.h"

#include <algorithm>
#include <queue>
#include <vector>

namespace tnl::cuda {

namespace {

constexpr double kStartSeconds = 1.5e-6;  // of a block: until its first chunk is there

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
      return beside ? ChunkSeconds{1.3e-6, 1.3e-6, 1.5e-6} : ChunkSeconds{1.0e-6, 1.05e-6, 1.35e-6};
    case Kernel::kSweep64Single:
      return {0.70e-6, 0.76e-6, 0.95e-6};
    case Kernel::kSweep128:
      return {1.42e-6, 1.85e-6, 2.4e-6};
    case Kernel::kSweep128Single:
      return {1.0e-6, 1.15e-6, 1.5e-6};
    case Kernel::kSweep256:
      return {2.8e-6, 3.6e-6, 4.8e-6};
    case Kernel::kSweep256Single:
      return {1.7e-6, 2.0e-6, 2.8e-6};
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

}  // namespace

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

double CostModel::chunk_seconds(std::size_t items) const {
  const bool beside = items > static_cast<std::size_t>(items_alone());
  const double products = product_seconds(beside);
  return std::max(products,
                  static_cast<double>(items) * bytes_per_chunk_ / limits_.bytes_per_second);
}

double CostModel::seconds(std::span<const double> chunks) const {
  if (chunks.empty()) return 0;
  const double start = kStartSeconds / product_seconds(false);
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
  for (std::size_t i = 0; i < ends.size(); ++i) {
    if (ends[i] > at) seconds += (ends[i] - at) * chunk_seconds(ends.size() - i);
    at = ends[i];
  }
  return seconds;
}

}  // namespace tnl::cuda
