// Calls of the operator that are right, for tests that break one thing.
#pragma once

#include <vector>

#include "tnl/attention.h"
#include "tnl/attention_plan.h"

namespace tnl::test {

inline const DeviceProperties kDevice{
    .kind = DeviceKind::kCpu, .name = "cpu", .cpu_target = "avx2", .threads = 2};

struct Call {
  std::vector<float> memory = std::vector<float>(4096);
  std::vector<float> log_decay = {-0.5f, -0.25f};
  std::vector<std::int64_t> offsets = {0, 2, 6};
  std::vector<std::int32_t> integers = {0, 2, 1};
  AttentionArgs args;
  AttentionGradients gradients;
  AttentionStepArgs step;

  TensorView view(std::initializer_list<std::int64_t> shape) {
    return TensorView::contiguous(memory.data(), DType::kF32, shape);
  }
  Call() {
    args.q = args.k = view({2, 3, 2, 4});
    args.v = args.o = view({2, 3, 2, 5});
    args.log_decay = log_decay;
    args.state_in = args.state_out = view({2, 2, 4, 5});
    gradients.d_o = gradients.dv = args.v;
    gradients.dq = gradients.dk = args.q;
    gradients.d_state_in = gradients.d_state_out = args.state_in;
    step.q = step.k = view({3, 2, 4});
    step.v = step.o = view({3, 2, 5});
    step.log_decay = log_decay;
    step.state = view({4, 2, 4, 5});
  }
};

}  // namespace tnl::test
