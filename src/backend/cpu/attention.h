// Lightning attention on the CPU: chunked, one task a (sequence, head, slice of V).
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "backend/attention_problem.h"
#include "core/thread_pool.h"
#include "tnl/status.h"

namespace tnl::cpu {

struct AttentionKernels;
// nullptr: this build lacks the target.
const AttentionKernels* find_attention_kernels(const std::string& target);

// kernel: a CPU target. `workspace` as planned by src/attention. Without tokens state_out is
// state_in.
Status attention(const AttentionProblem& problem, ThreadPool& pool, const std::string& kernel,
                 std::int64_t chunk, std::int64_t value_slice, void* workspace);
Status attention_step(const AttentionProblem& problem, ThreadPool& pool,
                      std::span<const std::int64_t> slots, const std::string& kernel);

// Columns of V that the kernel computes at once; slices that are a multiple of it waste nothing.
// 0: this build has no such kernel.
std::int64_t attention_panel(const std::string& kernel);

// What attention() needs for such a problem: a table of decays for each head and the scratch of
// each thread.
std::size_t attention_workspace(const std::string& kernel, std::int64_t heads, std::int64_t key_dim,
                                std::int64_t value_slice, std::int64_t chunk, int threads);

}  // namespace tnl::cpu
