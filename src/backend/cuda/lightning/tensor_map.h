// Tensor maps of the copy engine over the operands of attention.
#pragma once

#include <cuda.h>

#include "backend/attention_problem.h"
#include "tnl/status.h"

namespace tnl::cuda {

// [batch, head, token, column], boxes of 64 tokens by 64 columns, 128-byte swizzle. `columns`: K or
// V. What lies outside reads as zeros and is not written.
Status encode_operand(const AttentionProblem& problem, const AttentionOperand& operand,
                      std::int64_t columns, CUtensorMap& map);

}  // namespace tnl::cuda
