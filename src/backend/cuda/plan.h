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
  double bytes_per_second = 4.3e12;  // of a copy, counting what is read and what is written
};

enum class Kernel {
  kSweep64,   // K <= 64, one tile of V a block
  kSweep128,  // K <= 128, two
  kSweep256,  // K <= 256, two
  kGeneral,   // any K, V, strides and dtype; token by token
};

// How a long sequence is spread over blocks.
enum class Segments {
  kPlain,  // one run a sequence and head
  kWarm,   // several runs; each starts early enough that what lies before has decayed away
  kCarry,  // several runs; a first pass computes their states, a scan hands them on
};

struct PlanOptions {
  std::string kernel;    // "sweep64", "sweep128", "sweep256", "general"; empty: chosen
  std::string segments;  // "plain", "warm", "carry"; empty: chosen
  int runs = 0;          // runs of a segmented plan, all sequences and heads together; 0: chosen
  std::optional<Split> split;
  double horizon_bits = 24;      // a state this many halvings old is taken as forgotten
  bool batch_invariant = false;  // how a sequence is cut depends on nothing but itself
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

// Whether a sweep kernel can take the problem, by its dtype, widths, strides and alignment.
bool sweepable(const AttentionProblem& problem, const DeviceLimits& limits);

// Threads, dynamic shared memory and blocks a multiprocessor of a sweep kernel.
struct SweepShape {
  int key_tiles, workers, blocks_per_multiprocessor, threads;
  std::size_t shared_bytes;
};
SweepShape sweep_shape(Kernel kernel, Split split);

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
