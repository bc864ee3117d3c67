// How far the operator's results on a GPU are from fp64, on a sample.
#pragma once

#include <map>
#include <string>

#include "tnl/attention.h"

namespace tnl::command {

// Relative root mean square by name ("o", "state_out", "dq", "dk", "dv"), over a few columns of the
// first and the last head of the longest sequence, from its first token to its last. `args` and
// `gradients` (nullptr: a forward pass) are what a call was given and has written; contiguous.
std::map<std::string, double> attention_errors(const Device& device, const AttentionArgs& args,
                                               const AttentionGradients* gradients);

}  // namespace tnl::command
