// Lightning attention on the CPU: chunked, one task a (sequence, head, slice of V).
#pragma once

#include <string>

#include "backend/attention_problem.h"
#include "core/thread_pool.h"
#include "tnl/status.h"

namespace tnl::cpu {

// kernel: a CPU target. `workspace` as planned by src/attention.
Status attention(const AttentionProblem& problem, ThreadPool& pool, const std::string& kernel,
                 std::int64_t chunk, std::int64_t value_slice, void* workspace);
Status attention_step(const AttentionProblem& problem, ThreadPool& pool,
                      std::span<const std::int64_t> slots, const std::string& kernel);

}  // namespace tnl::cpu
