// Which kernel runs an attention call on a GPU, and how its work is cut into blocks. Pure host
// data: a function of shapes, strides, decays and the device's limits, so it is tested without a
// GPU.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "backend/attention_problem.h"
#include "backend/cuda/lightning/sweep_config.h"
#include "backend/cuda/lightning/work.h"
#include "tnl/status.h"

namespace tnl::cuda {

struct DeviceLimits {
  int capability = 90;  // 10 * major + minor
  int multiprocessors = 132;
  std::size_t shared_per_block = 232448;
  std::size_t shared_per_multiprocessor = 233472;
  double bytes_per_second = 3.0e12;  // of a copy, counting what is read and what is written
};

// The sweeps differ in the K they hold and in how much of a multiprocessor one tile of V gets.
enum class Kernel {
  kSweep64,         // K <= 64, two blocks of one tile of V a multiprocessor
  kSweep128,        // K <= 128, one block of two tiles
  kSweep256,        // K <= 256, one block of two tiles
  kSweep64Single,   // the same K, one block of one tile: the shortest time a chunk
  kSweep128Single,  //
  kSweep256Single,  //
  kSweep64Pair,     // the same K, two blocks of one tile take turns at the chunks
  kChunk128,        // K <= 128, sequences of one chunk without a state coming in
  kMma64,           // the same K by mma.sync, for any device from sm_80 on
  kMma128,          //
  kMma256,          //
  kFma64,           // the same K in fp32 arithmetic: f32 data, any strides
  kFma128,          //
  kFma256,          //
  kGeneral,         // any K, V, strides and dtype; token by token
};
// The kernels for Hopper, but for kChunk128 of sequences of any length.
inline constexpr Kernel kSweeps[] = {
    Kernel::kSweep64,        Kernel::kSweep128,       Kernel::kSweep256,   Kernel::kSweep64Single,
    Kernel::kSweep128Single, Kernel::kSweep256Single, Kernel::kSweep64Pair};

// The kernels that copy row by row: no tensor maps, code for every device from sm_80 on.
inline constexpr Kernel kRowKernels[] = {Kernel::kMma64, Kernel::kMma128, Kernel::kMma256,
                                         Kernel::kFma64, Kernel::kFma128, Kernel::kFma256};
constexpr bool is_mma(Kernel kernel) {
  return kernel >= Kernel::kMma64 && kernel <= Kernel::kMma256;
}
constexpr bool is_row_kernel(Kernel kernel) {
  return kernel >= Kernel::kMma64 && kernel <= Kernel::kFma256;
}

// How a long sequence is spread over blocks.
enum class Segments {
  kPlain,  // one run a sequence and head
  kWarm,   // several runs; each starts early enough that what lies before has decayed away
  kCarry,  // several runs; a first pass computes their states, a scan hands them on
};

struct PlanOptions {
  std::string kernel;    // "sweep64", "sweep64-single", .., "mma64", .., "general"; empty: chosen
  std::string segments;  // "plain", "warm", "carry"; empty: chosen
  int runs = 0;          // runs of a segmented plan, all sequences and heads together; 0: chosen
  std::optional<Split> split;    // kAll is the precise plan
  bool batch_invariant = false;  // bits of a sequence do not depend on what else is in the batch
  double horizon_bits = 0;       // a state this many halvings old is taken as forgotten; 0: chosen
};

// A chain of workspace slots: slot j becomes slot j + factor · slot j-1.
struct ScanItem {
  std::int32_t first_slot = 0;
  std::int32_t count = 0;
  float factor = 0;
};

// One launch of the sweep, or of its three kernels where the plan carries states.
struct LaunchPlan {
  Kernel kernel = Kernel::kGeneral;
  Split split = Split::kState;
  Segments segments = Segments::kPlain;
  std::vector<int> calls;  // which of the problems
  int value_tiles = 1;     // tiles of V the workers cover
  int blocks_per_item = 1;
  int turns = 1;         // of them, those that take turns at the chunks of the same columns
  bool uniform = false;  // `main` follows from the block index: nothing to upload
  std::vector<WorkItem> main;
  std::vector<WorkItem> state_pass;
  std::vector<ScanItem> scans;
  int slots = 0;
  std::size_t slot_bytes = 0;
  double estimated_seconds = 0;
};

struct Plan {
  std::vector<LaunchPlan> launches;
  std::size_t workspace_bytes = 0;
  std::string describe() const;
};

// problems: 1 (forward) or the 3 of a backward pass, of the same sequences and heads.
Result<Plan> plan_attention(std::span<const AttentionProblem> problems, const DeviceLimits& limits,
                            const PlanOptions& options = {});

// Whether the kernel can take the problem, by its dtype, widths, strides and alignment.
bool kernel_takes(Kernel kernel, const AttentionProblem& problem, const DeviceLimits& limits);

// Threads, dynamic shared memory and blocks a multiprocessor of a sweep kernel.
struct SweepShape {
  int key_tiles, workers, blocks_per_multiprocessor, threads;
  std::size_t shared_bytes;
  int turns = 1;  // blocks that take turns at the chunks of an item
};
SweepShape sweep_shape(Kernel kernel, Split split);
// The same with as many blocks a multiprocessor as its shared memory holds.
SweepShape sweep_shape(Kernel kernel, Split split, const DeviceLimits& limits);

// Columns of V of a block of the general kernel, 0 if K is too large for it, and its shared memory.
inline constexpr int kGeneralThreads = 128;
int general_columns(std::int64_t key_dim);
std::size_t general_shared_bytes(std::int64_t key_dim, int columns);

const char* kernel_name(Kernel kernel);
const char* segments_name(Segments segments);

// log2 λ, with -inf as a number whose powers are 0. A whole number where fp32 cannot tell the
// logarithm from one: λ = 1/2 is then exact.
double log2_decay(float log_decay);

}  // namespace tnl::cuda
