// A GPU's plan as the operator hands it around: the launches, and what they were made for.
#pragma once

#include <span>
#include <vector>

#include "backend/cuda/plan.h"
#include "tnl/attention_plan.h"
#include "tnl/device.h"

namespace tnl::cuda {

class PlanDetails final : public AttentionPlanDetails {
 public:
  Plan launches;
  // Problems whose incoming states are copied into the workspace first, behind what the launches
  // need: another block writes the same memory while they may still be read.
  std::vector<int> kept_states;

  // The arguments the launches depend on.
  std::vector<AttentionProblem> problems;  // shapes and flags; the rest is empty
  std::vector<float> log_decay;
  std::vector<std::int64_t> cu_seqlens;

  std::string describe() const override { return launches.describe(); }
};

// Bytes of the incoming states of a problem, as the workspace counts them.
std::size_t state_bytes(const AttentionProblem& problem);

DeviceLimits limits_of(const GpuProperties& gpu);

}  // namespace tnl::cuda
