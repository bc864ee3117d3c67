// How a call of the attention operator is carried out. Plain data: a function of shapes, strides,
// decays and the device's properties, so that it can be printed, forced and tested without a
// device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace tnl {

// What to force in place of the planner's choice, in a test or a benchmark.
struct AttentionPlanOptions {
  // Empty: the best for the device. On the CPU "avx512", "avx2", "generic" (f32, bf16, f16), or
  // "reference-recurrent", "reference-chunked" (f64); on a GPU "sweep64", "sweep64-single",
  // "sweep64-pair", .., "mma64", .., "fma64", .., "general".
  std::string kernel = {};
  std::int64_t chunk = 0;        // CPU: tokens of a chunk; 0: chosen
  std::int64_t value_slice = 0;  // CPU: columns of V a task owns; 0: chosen
  // GPU: how a long sequence is spread over blocks: "plain" (one block from end to end), "warm"
  // (runs that start early enough to find their own state), "carry" (states are computed first and
  // handed on); empty: chosen.
  std::string segments = {};
  // GPU: pieces of all sequences and heads together. CPU: segments of the longest sequence. 0:
  // chosen.
  std::int64_t runs = 0;
  // GPU, bf16 and f16: "fast" rounds each operand of a matrix product once, "state" keeps the state
  // as a pair of numbers, "precise" every operand; empty: chosen. On the CPU arithmetic is fp32 or
  // better whatever is asked for.
  std::string precision = {};
  // The bits of a sequence's result do not depend on which sequences share its batch.
  bool batch_invariant = false;
};

// What only the backend that made a plan reads.
class AttentionPlanDetails {
 public:
  virtual ~AttentionPlanDetails() = default;
  virtual std::string describe() const = 0;
};

// The same plan gives the same bits every time. It holds for arguments of the same shapes, strides,
// decays and cu_seqlens as those it was made from, on a device of the same properties.
struct AttentionPlan {
  std::string kernel;  // of the first launch
  std::int64_t chunk = 0;
  std::int64_t value_slice = 0;
  std::int64_t segments = 1;        // CPU: of the longest sequence
  std::int64_t tasks = 0;           // independent pieces handed to the threads, or blocks of a GPU
  std::size_t workspace_bytes = 0;  // what run needs, forward or backward
  bool backward = false;
  std::shared_ptr<const AttentionPlanDetails> details;  // of a GPU; else empty
  std::string describe() const;                         // one line
};

}  // namespace tnl
