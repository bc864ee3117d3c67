// What one block of the sweep kernel does. Plain data, made by the plan and read by the kernel.
#pragma once

#include <cstdint>

namespace tnl::cuda {

inline constexpr int kChunk = 64;        // tokens a step of the sweep
inline constexpr int kTile = 64;         // columns of a tile; a worker owns 64 columns of V
inline constexpr int kMaxCalls = 3;      // calls of the primitive in one launch
inline constexpr int kNoState = -1;      // zeros in, or nothing out
inline constexpr int kCallerState = -2;  // the state_in or state_out of the caller

// A run of tokens of one sequence and head, for all its columns of V. The sweep goes from `row` on
// (forward) or down from `row` (reverse, where `row` is one past the last token): first
// `warm_chunks` whole chunks that only build the state, then `tokens` tokens with output.
struct WorkItem {
  std::int32_t row = 0;       // on the token axis of the operands, packed or of one batch
  std::int32_t batch = 0;     // on their batch axis; 0 if packed
  std::int32_t sequence = 0;  // of the caller's states
  std::int32_t head = 0;
  std::int32_t call = 0;  // which of the launch's calls
  std::int32_t warm_chunks = 0;
  std::int32_t tokens = 0;
  std::int32_t state_in = kNoState;   // or kCallerState, or a slot of the workspace
  std::int32_t state_out = kNoState;  // likewise
};

// The same in fewer bytes, for a table that travels among the kernel's arguments; `batch` follows
// from the sequence.
struct PackedItem {
  std::int32_t row, tokens;
  std::uint16_t warm_chunks, head, sequence, call;
  std::int16_t state_in, state_out;
};
static_assert(sizeof(PackedItem) == 20);

}  // namespace tnl::cuda
