#include "backend/cpu/attention.h"

#include <algorithm>
#include <chrono>
#include <numeric>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "backend/cpu/attention_plan.h"
#include "backend/cpu/simd/attention.h"
#include "backend/decay.h"
#include "core/check.h"

namespace tnl::cpu {
namespace {

constexpr std::int64_t kLine = 16;  // floats of a cache line

const AttentionKernels* find_kernels(const std::string& kernel) {
#if defined(__x86_64__)
  if (kernel == "avx512") return &avx512::kAttentionKernels;
  if (kernel == "avx2") return &avx2::kAttentionKernels;
#endif
  if (kernel == "generic") return &generic::kAttentionKernels;
  return nullptr;
}

std::int64_t round_up(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// A row stride of an odd number of cache lines.
std::int64_t odd_lines(std::int64_t floats) {
  return ((floats + kLine - 1) / kLine | 1) * kLine;
}

std::int64_t powers_stride(std::int64_t chunk) {
  return round_up(kPowersBefore + chunk + 1 + kPowersAfter, kLine);
}

// Lays the scratch out from `base` and returns its size in floats.
std::int64_t lay_out(float* base, std::int64_t key_dim, std::int64_t value_slice,
                     std::int64_t chunk, std::int64_t panel, AttentionScratch& scratch) {
  const std::int64_t rows = round_up(chunk, kLine);
  const std::int64_t keys = round_up(key_dim, kLine);
  const std::int64_t panels = (value_slice + panel - 1) / panel;
  scratch.chunk_stride = odd_lines(chunk);
  scratch.key_stride = odd_lines(key_dim);
  scratch.key_rows = keys;
  scratch.panel_rows = keys + rows;
  scratch.out_stride = odd_lines(panels * panel);
  std::int64_t used = 0;
  const auto take = [&](float*& piece, std::int64_t floats) {
    piece = base == nullptr ? nullptr : base + used;
    used += floats;
  };
  take(scratch.q, keys * scratch.chunk_stride);
  take(scratch.scores, rows * scratch.chunk_stride);
  take(scratch.k, rows * scratch.key_stride);
  take(scratch.k_decayed, rows * scratch.key_stride);
  take(scratch.panels, round_up(panels * scratch.panel_rows * panel, kLine));
  take(scratch.out, rows * scratch.out_stride);
  return used;
}

std::int64_t scratch_floats(std::int64_t key_dim, std::int64_t value_slice, std::int64_t chunk,
                            std::int64_t panel) {
  AttentionScratch unused;
  return lay_out(nullptr, key_dim, value_slice, chunk, panel, unused);
}

std::int64_t longest_sequence(const AttentionProblem& problem) {
  if (problem.cu_seqlens.empty()) return problem.tokens;
  std::int64_t longest = 0;
  for (std::int64_t n = 0; n < problem.sequences; ++n) {
    longest = std::max(longest, problem.length(n));
  }
  return longest;
}

// Powers no chunk of this call reaches are left 0.
void fill_powers(const AttentionProblem& problem, std::int64_t chunk, float* powers) {
  const std::int64_t stride = powers_stride(chunk);
  const std::int64_t last = std::min(chunk, longest_sequence(problem));
  for (std::int64_t h = 0; h < problem.heads; ++h) {
    float* row = powers + h * stride;
    std::fill(row, row + stride, 0.0f);
    const double log2 = log2_decay(problem.log_decay[h]);
    for (std::int64_t n = 0; n <= last; ++n) {
      row[kPowersBefore + n] = static_cast<float>(decay_power(log2, n));
    }
  }
}

struct Job {
  const AttentionProblem& problem;
  const AttentionKernels& kernels;
  std::int64_t chunk;
  std::int64_t value_slice;
  std::int64_t slices;
  const float* powers;
  float* scratch;
  std::int64_t scratch_floats;

  AttentionRows rows(const AttentionOperand& operand, std::int64_t n, std::int64_t h,
                     std::int64_t column) const;
  AttentionState state(const AttentionStateOperand& operand, std::int64_t n, std::int64_t h,
                       std::int64_t column) const;
  void run(std::int64_t index, int worker) const;
};

// Row 0 is the first token in time.
AttentionRows Job::rows(const AttentionOperand& operand, std::int64_t n, std::int64_t h,
                        std::int64_t column) const {
  const std::int64_t length = problem.length(n);
  const std::int64_t first = problem.begin(n) + (problem.reverse ? length - 1 : 0);
  const std::int64_t offset =
      n * operand.stride_batch + first * operand.stride_token + h * operand.stride_head + column;
  return {static_cast<char*>(operand.data) + offset * dtype_size(problem.dtype),
          problem.reverse ? -operand.stride_token : operand.stride_token};
}

AttentionState Job::state(const AttentionStateOperand& operand, std::int64_t n, std::int64_t h,
                          std::int64_t column) const {
  if (operand.data == nullptr) return {};
  return {static_cast<float*>(operand.data) + n * operand.stride_sequence +
              h * operand.stride_head + column * operand.stride_v,
          operand.stride_k, operand.stride_v};
}

void Job::run(std::int64_t index, int worker) const {
  const std::int64_t column = index % slices * value_slice;
  const std::int64_t h = index / slices % problem.heads;
  const std::int64_t n = index / slices / problem.heads;
  AttentionTask task;
  task.dtype = problem.dtype;
  task.tokens = problem.length(n);
  task.key_dim = problem.key_dim;
  task.value_dim = std::min(value_slice, problem.value_dim - column);
  task.chunk = chunk;
  if (task.tokens > 0) {
    task.q = rows(problem.q, n, h, 0);
    task.k = rows(problem.k, n, h, 0);
    task.v = rows(problem.v, n, h, column);
    task.o = rows(problem.o, n, h, column);
  }
  task.state_in = state(problem.state_in, n, h, column);
  task.state_out = state(problem.state_out, n, h, column);
  task.powers = powers + h * powers_stride(chunk) + kPowersBefore;
  task.out_scale = static_cast<float>(problem.out_scale);
  task.value_scale = static_cast<float>(problem.value_scale);
  task.decay_state_out = problem.decay_state_out;
  task.state_enters_undecayed = problem.state_enters_undecayed;
  lay_out(scratch + worker * scratch_floats, problem.key_dim, value_slice, chunk, kernels.panel,
          task.scratch);
  kernels.forward(task);
}

void solve(const AttentionProblem& problem, std::int64_t chunk, std::int64_t value_slice,
           ThreadPool& pool, const AttentionKernels& kernels, void* workspace) {
  TNL_CHECK(problem.dtype != DType::kF64);
  float* powers = static_cast<float*>(workspace);
  fill_powers(problem, chunk, powers);
  const Job job{
      .problem = problem,
      .kernels = kernels,
      .chunk = chunk,
      .value_slice = value_slice,
      .slices = (problem.value_dim + value_slice - 1) / value_slice,
      .powers = powers,
      .scratch = powers + problem.heads * powers_stride(chunk),
      .scratch_floats = scratch_floats(problem.key_dim, value_slice, chunk, kernels.panel)};
  // One captured reference: a std::function this small allocates nothing.
  pool.run(problem.sequences * problem.heads * job.slices,
           [&job](std::int64_t index, int worker) { job.run(index, worker); });
}

Status unknown_kernel(const std::string& kernel) {
  return internal_error(
      fmt::format("attention kernel: found '{}', which this build lacks", kernel));
}

}  // namespace

std::int64_t attention_panel(const std::string& kernel) {
  const AttentionKernels* kernels = find_kernels(kernel);
  return kernels == nullptr ? 0 : kernels->panel;
}

std::size_t attention_workspace(const std::string& kernel, std::int64_t heads, std::int64_t key_dim,
                                std::int64_t value_slice, std::int64_t chunk, int threads) {
  const std::int64_t scratch = scratch_floats(key_dim, value_slice, chunk, attention_panel(kernel));
  return static_cast<std::size_t>(heads * powers_stride(chunk) + threads * scratch) * sizeof(float);
}

Status attention(std::span<const AttentionProblem> problems, const AttentionPlan& plan,
                 ThreadPool& pool, void* workspace) {
  const AttentionKernels* kernels = find_kernels(plan.kernel);
  if (kernels == nullptr) return unknown_kernel(plan.kernel);
  TNL_CHECK(plan.chunk > 0 && plan.value_slice > 0);
  for (const AttentionProblem& problem : problems) {
    solve(problem, plan.chunk, slice_of(plan, problem), pool, *kernels, workspace);
  }
  return {};
}

Status attention_step(const AttentionProblem& problem, ThreadPool& pool,
                      std::span<const std::int64_t> slots, const std::string& kernel) {
  const AttentionKernels* kernels = find_kernels(kernel);
  if (kernels == nullptr) return unknown_kernel(kernel);
  TNL_CHECK(problem.state_in.stride_v == 1 && problem.dtype != DType::kF64);
  struct StepJob {
    const AttentionProblem& problem;
    std::span<const std::int64_t> slots;
    const AttentionKernels& kernels;

    char* at(const AttentionOperand& operand, std::int64_t n, std::int64_t h) const {
      return static_cast<char*>(operand.data) +
             (n * operand.stride_batch + h * operand.stride_head) * dtype_size(problem.dtype);
    }
    void run(std::int64_t index) const {
      const std::int64_t h = index % problem.heads;
      const std::int64_t n = index / problem.heads;
      const AttentionStateOperand& state = problem.state_in;
      kernels.step({.dtype = problem.dtype,
                    .key_dim = problem.key_dim,
                    .value_dim = problem.value_dim,
                    .q = at(problem.q, n, h),
                    .k = at(problem.k, n, h),
                    .v = at(problem.v, n, h),
                    .o = at(problem.o, n, h),
                    .state = static_cast<float*>(state.data) +
                             (slots.empty() ? n : slots[n]) * state.stride_sequence +
                             h * state.stride_head,
                    .stride_k = state.stride_k,
                    .decay = static_cast<float>(decay_power(log2_decay(problem.log_decay[h]), 1)),
                    .out_scale = static_cast<float>(problem.out_scale),
                    .value_scale = static_cast<float>(problem.value_scale)});
    }
  };
  const StepJob job{problem, slots, *kernels};
  pool.split(problem.sequences * problem.heads, 1,
             [&job](std::int64_t begin, std::int64_t end, int) {
               for (std::int64_t index = begin; index < end; ++index) job.run(index);
             });
  return {};
}

double multiply_add_peak(const std::string& kernel, ThreadPool& pool) {
  using Clock = std::chrono::steady_clock;
  constexpr int kWindows = 200;
  const AttentionKernels* kernels = find_kernels(kernel);
  TNL_CHECK(kernels != nullptr);
  const int threads = pool.threads();
  std::vector<double> rates(threads);
  // Each thread's best window of half a millisecond: what its core can do, not what else the
  // machine was at.
  pool.run(threads, [&](std::int64_t task, int) {
    for (int window = 0; window < kWindows; ++window) {
      float sink = 0.999f;
      const auto start = Clock::now();
      const double flops = kernels->multiply_adds(150, &sink);
      const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
      if (sink > 0) rates[task] = std::max(rates[task], flops / seconds);  // always; see `sink`
    }
  });
  const double total = std::accumulate(rates.begin(), rates.end(), 0.0);
  // Threads beyond the cores take turns.
  const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  return total * std::min(1.0, static_cast<double>(cores) / threads);
}

}  // namespace tnl::cpu
