// The operator in fp64, in plain loops: what every kernel is held to. Twice, by different algebra:
// the recurrence, and the chunked form the fast kernels use. One thread.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backend/attention_problem.h"
#include "backend/attention_step.h"

namespace tnl::attention {

std::size_t recurrent_workspace(std::int64_t key_dim);
void run_recurrent(const AttentionProblem& problem, void* workspace);

std::size_t chunked_workspace(std::int64_t key_dim, std::int64_t value_dim);
void run_chunked(const AttentionProblem& problem, std::int64_t chunk, void* workspace);

// As Backend::attention_step.
void run_step(const AttentionProblem& problem, const AttentionStep& step);

}  // namespace tnl::attention
