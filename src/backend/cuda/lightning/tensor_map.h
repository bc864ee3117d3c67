// Tensor maps of the copy engine over the operands of attention.
#pragma once

#include <cuda.h>

#include "backend/attention_problem.h"
#include "tnl/status.h"

namespace tnl::cuda {

// The axes of a map, from the fastest: column, token, tile, head, batch; 128-byte swizzle. What
// lies outside reads as zeros and is not written. `columns`: K or V.
//   tiles > 0: the columns are cut into tiles of 64, which they must be a multiple of; a box holds
//              64 tokens of so many tiles, one tile after the other.
//   tiles = 0: one "tile" of all columns; a box holds 64 tokens of 64 of them.
Status encode_operand(const AttentionProblem& problem, const AttentionOperand& operand,
                      std::int64_t columns, int tiles, CUtensorMap& map);

}  // namespace tnl::cuda
