// What a decode step is told beside its problem, whose tokens are at most kMostStepTokens a
// sequence and whose state_in and state_out are one pool of states, updated in place.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "backend/attention_problem.h"

namespace tnl {

inline constexpr int kMostStepTokens = 8;

// Tokens of an earlier step that left outputs only: the accepted ones enter the state now.
struct StepReplay {
  AttentionOperand k, v;                   // [sequences, tokens, heads, columns], as the problem's
  int tokens = 0;                          // how many there are
  const std::int32_t* accepted = nullptr;  // [sequences], in the device's memory: how many enter
};

struct AttentionStep {
  std::span<const std::int64_t> slots;  // [sequences], of the host; empty: sequence n has state n
  // [sequences], in the device's memory, read when the work runs; in place of `slots`. A negative
  // one skips its sequence.
  const std::int32_t* device_slots = nullptr;
  StepReplay replay;       // before the tokens of the call
  bool keep_state = true;  // false: these leave outputs, the state is as before them

  // For devices whose memory is the host's.
  std::int64_t slot(std::int64_t n) const {
    if (device_slots != nullptr) return device_slots[n];
    return slots.empty() ? n : slots[n];
  }
  int replayed(std::int64_t n) const {
    return replay.tokens == 0 ? 0 : std::clamp(replay.accepted[n], 0, replay.tokens);
  }
};

}  // namespace tnl
