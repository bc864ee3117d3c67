// Every mistake a caller of the operator can make, as one sentence.
#pragma once

#include "tnl/attention.h"

namespace tnl::attention {

Status check_arguments(const AttentionArgs& args);
// For the backward pass o and state_out are not looked at.
Status check_backward_arguments(const AttentionArgs& args, const AttentionGradients& gradients);
Status check_step(const AttentionStepArgs& args);
// The values of device_slots and draft.accepted, where the host can read them.
Status check_step_values(const AttentionStepArgs& args);

}  // namespace tnl::attention
