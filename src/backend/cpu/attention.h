// Lightning attention on the CPU: chunked, one task a (sequence, head, slice of V).
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "backend/attention_problem.h"
#include "core/thread_pool.h"
#include "tnl/attention_plan.h"
#include "tnl/status.h"

namespace tnl::cpu {

// One after the other, in the same workspace. The plan is attention_plan.h's. Without tokens
// state_out is state_in.
Status attention(std::span<const AttentionProblem> problems, const AttentionPlan& plan,
                 ThreadPool& pool, void* workspace);
// kernel: a CPU target.
Status attention_step(const AttentionProblem& problem, ThreadPool& pool,
                      std::span<const std::int64_t> slots, const std::string& kernel);

// Columns of V that the kernel computes at once; slices that are a multiple of it waste nothing.
// 0: this build has no such kernel.
std::int64_t attention_panel(const std::string& kernel);

// What attention() needs for such a problem: a table of decays for each head and the scratch of
// each thread.
std::size_t attention_workspace(const std::string& kernel, std::int64_t heads, std::int64_t key_dim,
                                std::int64_t value_slice, std::int64_t chunk, int threads);

// fp32 FLOP/s of all threads of the pool together, in multiply-adds on registers alone. Takes a
// tenth of a second.
double multiply_add_peak(const std::string& kernel, ThreadPool& pool);

}  // namespace tnl::cpu
