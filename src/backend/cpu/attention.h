// Lightning attention on the CPU: chunked, one task a (sequence, few heads, slice of V).
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "backend/attention_problem.h"
#include "backend/attention_step.h"
#include "core/thread_pool.h"
#include "tnl/attention_plan.h"
#include "tnl/status.h"

namespace tnl::cpu {

struct AttentionKernels;
// nullptr: this build lacks the target.
const AttentionKernels* find_attention_kernels(const std::string& target);

// One after the other, in the same workspace. The plan is attention_plan.h's. Without tokens
// state_out is state_in.
Status attention(std::span<const AttentionProblem> problems, const AttentionPlan& plan,
                 ThreadPool& pool, void* workspace);
// kernel: a CPU target.
Status attention_step(const AttentionProblem& problem, const AttentionStep& step, ThreadPool& pool,
                      const std::string& kernel);

// Columns of V that the kernel computes at once; slices that are a multiple of it waste nothing.
// 0: this build has no such kernel.
std::int64_t attention_panel(const std::string& kernel);

// How one problem is cut: into chunks a task takes one after the other, slices of V's columns, and
// segments of time (of the longest sequence). docs/kernels/attention_cpu.md
struct Cut {
  std::int64_t chunk = 0, value_slice = 0, segments = 1;
};

// Tokens of a segment: whole chunks.
std::int64_t segment_tokens(std::int64_t longest, const Cut& cut);

// Heads of a task, which takes them in turns: as many as leave the last thread done no later.
std::int64_t heads_of_task(const AttentionProblem& problem, const Cut& cut, int threads);

// What attention() needs for such a problem: a table of decays for each head, the scratch of each
// thread, the states between its turns and those between segments.
std::size_t attention_workspace(const std::string& kernel, const AttentionProblem& problem,
                                const Cut& cut, int threads);

}  // namespace tnl::cpu
