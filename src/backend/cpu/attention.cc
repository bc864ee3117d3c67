#include "backend/cpu/attention.h"

#include <algorithm>

#include <fmt/format.h>

#include "backend/cpu/attention_plan.h"
#include "backend/cpu/simd/attention.h"
#include "backend/decay.h"
#include "core/check.h"

namespace tnl::cpu {
namespace {

constexpr std::int64_t kLine = 16;  // floats of a cache line

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

// Heads whose rows lie side by side are taken in turns of this many tokens: the hardware fetches
// neighbouring lines, and by a head's own turn they are still in the caches.
constexpr std::int64_t kTurn = 512;
constexpr std::int64_t kMostHeads = 8;

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

// Where one call keeps what it works with, in floats from the beginning of its workspace.
struct Workspace {
  Workspace(const AttentionProblem& problem, const Cut& cut, int threads,
            const AttentionKernels& kernels)
      : scratch(problem.heads * powers_stride(cut.chunk)),
        scratch_floats(
            cpu::scratch_floats(problem.key_dim, cut.value_slice, cut.chunk, kernels.panel)),
        heads_of_task(cpu::heads_of_task(problem, cut, threads)),
        parked(scratch + threads * scratch_floats),
        parked_floats(heads_of_task == 1 ? 0 : heads_of_task * problem.key_dim * cut.value_slice),
        states(parked + threads * parked_floats),
        floats(states) {
    if (cut.segments == 1) return;
    floats +=
        problem.sequences * problem.heads * cut.segments * problem.key_dim * problem.value_dim;
  }

  std::int64_t scratch;  // of each thread; before it the powers, [heads][powers_stride]
  std::int64_t scratch_floats;
  std::int64_t heads_of_task;
  std::int64_t parked;  // of each thread: [heads_of_task][K][V of a slice], between two turns
  std::int64_t parked_floats;
  std::int64_t states;  // [sequences][heads][segments][K][V]: behind each segment
  std::int64_t floats;
};

struct Job {
  const AttentionProblem& problem;
  const AttentionKernels& kernels;
  const Cut& cut;
  const Workspace& layout;
  float* memory;
  std::int64_t slices;
  std::int64_t segment;  // tokens of one, a multiple of the chunk

  // A piece of work: tokens of one sequence and head, counted in time, and columns of V.
  struct Piece {
    std::int64_t n, h, column, first, tokens;
  };
  // Piece `index` of `segments` a sequence, group of `heads` heads and slice; h is the first.
  Piece piece(std::int64_t index, std::int64_t segments, std::int64_t heads) const;
  AttentionRows rows(const AttentionOperand& operand, const Piece& piece,
                     std::int64_t column) const;
  AttentionState state(const AttentionStateOperand& operand, const Piece& piece) const;
  AttentionStateOperand behind(std::int64_t index) const;  // the states behind that segment
  AttentionState parked(std::int64_t head, int worker) const;
  std::int64_t horizon(std::int64_t h) const;
  AttentionTask task(const Piece& piece, int worker) const;

  void find_state(std::int64_t index, int worker) const;
  void carry(std::int64_t index) const;
  void outputs(std::int64_t index, int worker) const;
  void turn(const Piece& whole, const Piece& part, std::int64_t head, int worker) const;
  void leave(std::int64_t index) const;
};

Job::Piece Job::piece(std::int64_t index, std::int64_t segments, std::int64_t heads) const {
  const std::int64_t groups = (problem.heads + heads - 1) / heads;
  const std::int64_t first = index % segments * segment;
  const std::int64_t slice = index / segments % slices;
  const std::int64_t row = index / segments / slices;
  const std::int64_t n = row / groups;
  const std::int64_t left = std::max<std::int64_t>(problem.length(n) - first, 0);
  return {n, row % groups * heads, slice * cut.value_slice, first, std::min(segment, left)};
}

// Row 0 is the first token in time.
AttentionRows Job::rows(const AttentionOperand& operand, const Piece& piece,
                        std::int64_t column) const {
  const std::int64_t length = problem.length(piece.n);
  const std::int64_t token = problem.reverse ? length - 1 - piece.first : piece.first;
  const std::int64_t offset = piece.n * operand.stride_batch +
                              (problem.begin(piece.n) + token) * operand.stride_token +
                              piece.h * operand.stride_head + column;
  return {static_cast<char*>(operand.data) + offset * dtype_size(problem.dtype),
          problem.reverse ? -operand.stride_token : operand.stride_token};
}

AttentionState Job::state(const AttentionStateOperand& operand, const Piece& piece) const {
  if (operand.data == nullptr) return {};
  return {static_cast<float*>(operand.data) + piece.n * operand.stride_sequence +
              piece.h * operand.stride_head + piece.column * operand.stride_v,
          operand.stride_k, operand.stride_v};
}

AttentionStateOperand Job::behind(std::int64_t index) const {
  const std::int64_t matrix = problem.key_dim * problem.value_dim;
  return {memory + layout.states + index * matrix, problem.heads * cut.segments * matrix,
          cut.segments * matrix, problem.value_dim, 1};
}

// Of the head-th head of a worker's task, between two of its turns.
AttentionState Job::parked(std::int64_t head, int worker) const {
  return {memory + layout.parked + worker * layout.parked_floats +
              head * problem.key_dim * cut.value_slice,
          cut.value_slice, 1};
}

// Tokens, whole chunks, of which a state still holds something; at most a segment.
std::int64_t Job::horizon(std::int64_t h) const {
  const double tokens = horizon_tokens(problem.log_decay[h]);
  if (tokens >= static_cast<double>(segment)) return segment;
  return std::min(segment, round_up(static_cast<std::int64_t>(tokens) + 1, cut.chunk));
}

AttentionTask Job::task(const Piece& piece, int worker) const {
  AttentionTask task;
  task.dtype = problem.dtype;
  task.tokens = piece.tokens;
  task.key_dim = problem.key_dim;
  task.value_dim = std::min(cut.value_slice, problem.value_dim - piece.column);
  task.chunk = cut.chunk;
  if (task.tokens > 0) {
    task.q = rows(problem.q, piece, 0);
    task.k = rows(problem.k, piece, 0);
    task.v = rows(problem.v, piece, piece.column);
    task.o = rows(problem.o, piece, piece.column);
  }
  task.powers = memory + piece.h * powers_stride(cut.chunk) + kPowersBefore;
  task.out_scale = static_cast<float>(problem.out_scale);
  task.value_scale = static_cast<float>(problem.value_scale);
  lay_out(memory + layout.scratch + worker * layout.scratch_floats, problem.key_dim,
          cut.value_slice, cut.chunk, kernels.panel, task.scratch);
  return task;
}

// What a segment that is not the last leaves behind, from its last tokens alone where all before
// them is forgotten.
void Job::find_state(std::int64_t index, int worker) const {
  Piece found = piece(index, cut.segments - 1, 1);
  if (found.first + segment >= problem.length(found.n)) return;
  const std::int64_t number = found.first / segment;
  const std::int64_t skipped = segment - horizon(found.h);
  found.first += skipped;
  found.tokens -= skipped;
  AttentionTask state_task = task(found, worker);
  state_task.state_only = true;
  if (number == 0 && skipped == 0) {
    state_task.state_in = state(problem.state_in, found);
    state_task.state_enters_undecayed = problem.state_enters_undecayed;
  }
  state_task.state_out = state(behind(number), found);
  kernels.forward(state_task);
}

// S behind segment s <- λ^segment (S behind segment s - 1) + what s adds, for one row of S.
void Job::carry(std::int64_t index) const {
  const std::int64_t n = index / problem.key_dim / problem.heads;
  const std::int64_t h = index / problem.key_dim % problem.heads;
  if (horizon(h) < segment) return;
  const auto decay = static_cast<float>(decay_power(log2_decay(problem.log_decay[h]), segment));
  for (std::int64_t s = 1; (s + 1) * segment < problem.length(n); ++s) {
    const auto row = [&](std::int64_t number) {
      return state(behind(number), {n, h, 0, 0, 0}).data +
             index % problem.key_dim * problem.value_dim;
    };
    const float* before = row(s - 1);
    float* after = row(s);
    for (std::int64_t v = 0; v < problem.value_dim; ++v) after[v] += decay * before[v];
  }
}

// A part of what a task does for one head. Between two parts the state is parked.
void Job::turn(const Piece& whole, const Piece& part, std::int64_t head, int worker) const {
  AttentionTask turn_task = task(part, worker);
  if (part.first > whole.first) {
    turn_task.state_in = parked(head, worker);
  } else if (part.first == 0) {
    turn_task.state_in = state(problem.state_in, part);
    turn_task.state_enters_undecayed = problem.state_enters_undecayed;
  } else {
    turn_task.state_in = state(behind(part.first / segment - 1), part);
  }
  const std::int64_t end = part.first + part.tokens;
  if (end < whole.first + whole.tokens) {
    turn_task.state_out = parked(head, worker);
  } else if (end == problem.length(part.n) && problem.state_out.data != nullptr) {
    // The caller's state_out may be the state_in that the first segment is about to read.
    turn_task.state_out =
        state(cut.segments > 1 ? behind(cut.segments - 1) : problem.state_out, part);
    turn_task.decay_state_out = problem.decay_state_out;
  }
  kernels.forward(turn_task);
}

void Job::outputs(std::int64_t index, int worker) const {
  const Piece whole = piece(index, cut.segments, layout.heads_of_task);
  if (whole.first > 0 && whole.tokens == 0) return;
  const std::int64_t heads = std::min(layout.heads_of_task, problem.heads - whole.h);
  const std::int64_t tokens = heads == 1 ? whole.tokens : round_up(kTurn, cut.chunk);
  std::int64_t done = 0;
  do {
    for (std::int64_t head = 0; head < heads; ++head) {
      Piece part = whole;
      part.h += head;
      part.first += done;
      part.tokens = std::min(tokens, whole.tokens - done);
      turn(whole, part, head, worker);
    }
    done += tokens;
  } while (done < whole.tokens);
}

// Hands the final state of one row of S to the caller.
void Job::leave(std::int64_t index) const {
  const std::int64_t n = index / problem.key_dim / problem.heads;
  const std::int64_t h = index / problem.key_dim % problem.heads;
  const std::int64_t k = index % problem.key_dim;
  const AttentionState from = state(behind(cut.segments - 1), {n, h, 0, 0, 0});
  const AttentionState to = state(problem.state_out, {n, h, 0, 0, 0});
  for (std::int64_t v = 0; v < problem.value_dim; ++v) {
    to.data[k * to.stride_k + v * to.stride_v] = from.data[k * from.stride_k + v];
  }
}

void solve(const AttentionProblem& problem, const Cut& cut, ThreadPool& pool,
           const AttentionKernels& kernels, void* workspace) {
  TNL_CHECK(problem.dtype != DType::kF64);
  const Workspace layout(problem, cut, pool.threads(), kernels);
  float* memory = static_cast<float*>(workspace);
  fill_powers(problem, cut.chunk, memory);
  const std::int64_t longest = longest_sequence(problem);
  const Job job{.problem = problem,
                .kernels = kernels,
                .cut = cut,
                .layout = layout,
                .memory = memory,
                .slices = (problem.value_dim + cut.value_slice - 1) / cut.value_slice,
                .segment = std::max(segment_tokens(longest, cut), cut.chunk)};
  const std::int64_t groups = (problem.heads + layout.heads_of_task - 1) / layout.heads_of_task;
  const std::int64_t state_rows = problem.sequences * problem.heads * problem.key_dim;
  // One captured reference: a std::function this small allocates nothing.
  if (cut.segments > 1) {
    pool.run(problem.sequences * problem.heads * job.slices * (cut.segments - 1),
             [&job](std::int64_t index, int worker) { job.find_state(index, worker); });
    pool.split(state_rows, 16, [&job](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t index = begin; index < end; ++index) job.carry(index);
    });
  }
  pool.run(problem.sequences * groups * job.slices * cut.segments,
           [&job](std::int64_t index, int worker) { job.outputs(index, worker); });
  if (cut.segments > 1 && problem.state_out.data != nullptr) {
    for (std::int64_t index = 0; index < state_rows; ++index) job.leave(index);
  }
}

Status unknown_kernel(const std::string& kernel) {
  return internal_error(
      fmt::format("attention kernel: found '{}', which this build lacks", kernel));
}

}  // namespace

const AttentionKernels* find_attention_kernels(const std::string& target) {
#if defined(__x86_64__)
  if (target == "avx512") return &avx512::kAttentionKernels;
  if (target == "avx2") return &avx2::kAttentionKernels;
#endif
  return target == "generic" ? &generic::kAttentionKernels : nullptr;
}

std::int64_t attention_panel(const std::string& kernel) {
  const AttentionKernels* kernels = find_attention_kernels(kernel);
  return kernels == nullptr ? 0 : kernels->panel;
}

std::int64_t segment_tokens(std::int64_t longest, const Cut& cut) {
  return round_up((longest + cut.segments - 1) / cut.segments, cut.chunk);
}

std::int64_t heads_of_task(const AttentionProblem& problem, const Cut& cut, int threads) {
  const std::int64_t longest = longest_sequence(problem);
  if (longest <= kTurn) return 1;
  const std::int64_t slices = (problem.value_dim + cut.value_slice - 1) / cut.value_slice;
  const std::int64_t pieces = problem.sequences * slices * cut.segments;  // of one head
  const auto last_done = [&](std::int64_t heads) {
    const std::int64_t tasks = pieces * ((problem.heads + heads - 1) / heads);
    return (tasks + threads - 1) / threads * heads;
  };
  std::int64_t heads = std::min(kMostHeads, problem.heads);
  while (heads > 1 && last_done(heads) > last_done(1)) --heads;
  return heads;
}

std::size_t attention_workspace(const std::string& kernel, const AttentionProblem& problem,
                                const Cut& cut, int threads) {
  const AttentionKernels* kernels = find_attention_kernels(kernel);
  TNL_CHECK(kernels != nullptr);
  return static_cast<std::size_t>(Workspace(problem, cut, threads, *kernels).floats) *
         sizeof(float);
}

Status attention(std::span<const AttentionProblem> problems, const AttentionPlan& plan,
                 ThreadPool& pool, void* workspace) {
  const AttentionKernels* kernels = find_attention_kernels(plan.kernel);
  if (kernels == nullptr) return unknown_kernel(plan.kernel);
  TNL_CHECK(plan.chunk > 0 && plan.value_slice > 0 && plan.segments > 0);
  for (const AttentionProblem& problem : problems) {
    solve(problem, cut_of(plan, problem), pool, *kernels, workspace);
  }
  return {};
}

}  // namespace tnl::cpu
