// Chunked lightning attention, one task: S stays in scratch from chunk to chunk. For the n tokens
// of a chunk, i and j counting from 0:
//   Pᵀ[j][i] = λ^(i-j) k_j · q_i  for i >= j
//   o_i = out_scale (λ^(i+1) Sᵀ q_i + Σ_j Pᵀ[j][i] v_j)
//   S <- λ^n S + Σ_j λ^(n-1-j) k_j v_jᵀ
#include "backend/cpu/simd/attention.h"

#include "backend/cpu/simd/attention_tile.h"
#include "backend/cpu/simd/vec.h"

namespace tnl::TNL_TARGET {
namespace {

using cpu::AttentionScratch;
using cpu::AttentionTask;

// A chunk in flight.
struct Chunk {
  std::int64_t first = 0;       // token
  std::int64_t tokens = 0;      // n
  bool state_is_zero = false;   // its products are left out
  bool state_is_needed = true;  // after this chunk
  std::int64_t entry = 1;       // exponent with which S reaches token 0
};

TNL_INLINE std::int64_t least(std::int64_t a, std::int64_t b) {
  return a < b ? a : b;
}

TNL_INLINE VecI lane_numbers() {
  VecI lanes;
  for (int i = 0; i < kLanes; ++i) lanes[i] = i;
  return lanes;
}

// Asks for the rows of the next chunk a few at a time, between the tiles of the current one: rows
// of a head lie far apart, where the hardware's own prefetching does not follow.
struct Prefetch {
  cpu::AttentionRows rows[4];
  std::int64_t bytes[4];
  std::int64_t row_bytes[4];
  std::int64_t next = 0;  // row, counting q, k, v, o of a token before the next token's
  std::int64_t end = 0;
  std::int64_t at_once = 0;

  void advance() {
    const std::int64_t stop = least(next + at_once, end);
    for (; next < stop; ++next) {
      const std::int64_t operand = next % 4;
      const char* row =
          static_cast<const char*>(rows[operand].data) + next / 4 * row_bytes[operand];
      for (std::int64_t byte = 0; byte < bytes[operand]; byte += 64) {
        __builtin_prefetch(row + byte, 0, 2);
      }
    }
  }
};

template <class T>
TNL_INLINE Vec load_some(const T* p, std::int64_t n) {
  return n >= kLanes ? load(p) : load_part(p, n);
}

template <class T>
TNL_INLINE const T* row(const cpu::AttentionRows& rows, std::int64_t token) {
  return static_cast<const T*>(rows.data) + token * rows.stride;
}

template <class T>
TNL_INLINE void pack_q(const AttentionTask& task, const Chunk& chunk) {
  const AttentionScratch& scratch = task.scratch;
  for (std::int64_t i = 0; i < chunk.tokens; i += kLanes) {
    const std::int64_t rows = least(kLanes, chunk.tokens - i);
    for (std::int64_t c = 0; c < task.key_dim; c += kLanes) {
      Vec square[kLanes];
#pragma GCC unroll 16
      for (int r = 0; r < kLanes; ++r) {
        square[r] =
            r < rows ? load_some(row<T>(task.q, chunk.first + i + r) + c, task.key_dim - c) : Vec{};
      }
      transpose(square);
#pragma GCC unroll 16
      for (int r = 0; r < kLanes; ++r)
        store(scratch.q + (c + r) * scratch.chunk_stride + i, square[r]);
    }
  }
}

template <class T>
TNL_INLINE void pack_k(const AttentionTask& task, const Chunk& chunk) {
  const AttentionScratch& scratch = task.scratch;
  for (std::int64_t j = 0; j < chunk.tokens; ++j) {
    const T* source = row<T>(task.k, chunk.first + j);
    const float decay = task.powers[chunk.tokens - 1 - j];
    float* plain = scratch.k + j * scratch.key_stride;
    float* decayed = scratch.k_decayed + j * scratch.key_stride;
    for (std::int64_t c = 0; c < task.key_dim; c += kLanes) {
      const Vec x = load_some(source + c, task.key_dim - c);
      if (!task.state_only) store(plain + c, x);
      store(decayed + c, x * decay);
    }
  }
}

// Returns whether all of it is finite.
template <class T>
TNL_INLINE bool pack_v(const AttentionTask& task, const Chunk& chunk) {
  const AttentionScratch& scratch = task.scratch;
  VecU taint{};
  for (std::int64_t j = 0; j < chunk.tokens; ++j) {
    const T* source = row<T>(task.v, chunk.first + j);
    float* panel = scratch.panels + (scratch.key_rows + j) * kPanel;
    for (std::int64_t c = 0; c < task.value_dim; c += kPanel) {
#pragma GCC unroll 4
      for (int x = 0; x < kTileVectors; ++x) {
        const std::int64_t left = task.value_dim - c - x * kLanes;
        if (left <= 0) break;
        const Vec value = load_some(source + c + x * kLanes, left) * task.value_scale;
        taint |= (VecU)(value * 0.0f);  // a zero, or NaN where value is not finite
        store(panel + x * kLanes, value);
      }
      panel += scratch.panel_rows * kPanel;
    }
  }
  std::uint32_t any = 0;
  for (int i = 0; i < kLanes; ++i) any |= taint[i];
  return (any & 0x7fffffffu) == 0;
}

// The masked half is written as 0, not multiplied by it: a NaN in a later k must not reach an
// earlier token.
template <int kVectors>
TNL_INLINE void scores_tile(const AttentionTask& task, std::int64_t j, std::int64_t i) {
  const AttentionScratch& scratch = task.scratch;
  Tile<kVectors> tile = {};
  accumulate<Walk::kRows>(tile, scratch.k + j * scratch.key_stride, scratch.key_stride,
                          scratch.q + i, scratch.chunk_stride, task.key_dim);
  const VecI lanes = lane_numbers();
#pragma GCC unroll 16
  for (int r = 0; r < kTileRows; ++r) {
#pragma GCC unroll 8
    for (int x = 0; x < kVectors; ++x) {
      const std::int64_t distance = i + x * kLanes - (j + r);
      const VecI causal = lanes + static_cast<std::int32_t>(distance) >= 0;
      store(scratch.scores + (j + r) * scratch.chunk_stride + i + x * kLanes,
            select(causal, tile.acc[r][x] * load(task.powers + distance), Vec{}));
    }
  }
}

void scores(const AttentionTask& task, const Chunk& chunk) {
  for (std::int64_t j = 0; j < chunk.tokens; j += kTileRows) {
    std::int64_t i = j / kLanes * kLanes;
    for (; i + kLanes < chunk.tokens; i += kPanel) scores_tile<kTileVectors>(task, j, i);
    if (i < chunk.tokens) scores_tile<1>(task, j, i);
  }
}

template <class T>
TNL_INLINE Prefetch plan_prefetch(const AttentionTask& task, const Chunk& chunk) {
  const std::int64_t first = chunk.first + chunk.tokens;
  const cpu::AttentionRows* operands[4] = {task.state_only ? &task.k : &task.q, &task.k, &task.v,
                                           task.state_only ? &task.v : &task.o};
  Prefetch prefetch;
  for (int x = 0; x < 4; ++x) {
    prefetch.rows[x] = {const_cast<T*>(row<T>(*operands[x], first)), 0};
    prefetch.row_bytes[x] = operands[x]->stride * static_cast<std::int64_t>(sizeof(T));
    prefetch.bytes[x] =
        (x < 2 ? task.key_dim : task.value_dim) * static_cast<std::int64_t>(sizeof(T));
    if (task.state_only && (x == 0 || x == 3)) prefetch.bytes[x] = 0;
  }
  const std::int64_t panels = (task.value_dim + kPanel - 1) / kPanel;
  const std::int64_t tiles = (chunk.tokens + task.key_dim) / kTileRows + 1;
  prefetch.end = 4 * least(task.chunk, task.tokens - first);
  prefetch.at_once = prefetch.end / (panels * tiles) + 1;
  return prefetch;
}

// The outputs of rows i .. i + kTileRows and the columns of one panel.
template <int kVectors>
TNL_INLINE void outputs_tile(const AttentionTask& task, const Chunk& chunk, const float* panel,
                             std::int64_t i, float* out) {
  const AttentionScratch& scratch = task.scratch;
  Tile<kVectors> tile = {};
  if (!chunk.state_is_zero) {
    accumulate<Walk::kColumns>(tile, scratch.q + i, scratch.chunk_stride, panel, kPanel,
                               task.key_dim);
#pragma GCC unroll 16
    for (int r = 0; r < kTileRows; ++r) {
      const float decay = task.powers[i + r + chunk.entry];
#pragma GCC unroll 8
      for (int x = 0; x < kVectors; ++x) tile.acc[r][x] *= decay;
    }
  }
  accumulate<Walk::kColumns>(tile, scratch.scores + i, scratch.chunk_stride,
                             panel + scratch.key_rows * kPanel, kPanel,
                             least(chunk.tokens, i + kTileRows));
#pragma GCC unroll 16
  for (int r = 0; r < kTileRows; ++r) {
#pragma GCC unroll 8
    for (int x = 0; x < kVectors; ++x) {
      store(out + (i + r) * scratch.out_stride + x * kLanes, tile.acc[r][x] * task.out_scale);
    }
  }
}

template <int kVectors>
TNL_INLINE void state_tile(const AttentionTask& task, const Chunk& chunk, float* panel,
                           std::int64_t k) {
  const AttentionScratch& scratch = task.scratch;
  float* state = panel + k * kPanel;
  Tile<kVectors> tile = {};
  if (!chunk.state_is_zero) {
    const float decay = task.powers[chunk.tokens - 1 + chunk.entry];
#pragma GCC unroll 16
    for (int r = 0; r < kTileRows; ++r) {
#pragma GCC unroll 8
      for (int x = 0; x < kVectors; ++x) {
        tile.acc[r][x] = load(state + r * kPanel + x * kLanes) * decay;
      }
    }
  }
  accumulate<Walk::kColumns>(tile, scratch.k_decayed + k, scratch.key_stride,
                             panel + scratch.key_rows * kPanel, kPanel, chunk.tokens);
#pragma GCC unroll 16
  for (int r = 0; r < kTileRows; ++r) {
#pragma GCC unroll 8
    for (int x = 0; x < kVectors; ++x) {
      store(state + r * kPanel + x * kLanes, tile.acc[r][x]);
    }
  }
}

// Outputs and state of one panel, while the panel is in the first-level cache.
template <int kVectors>
void products(const AttentionTask& task, const Chunk& chunk, std::int64_t panel,
              Prefetch& prefetch) {
  const AttentionScratch& scratch = task.scratch;
  float* data = scratch.panels + panel * scratch.panel_rows * kPanel;
  for (std::int64_t i = 0; i < chunk.tokens && !task.state_only; i += kTileRows) {
    outputs_tile<kVectors>(task, chunk, data, i, scratch.out + panel * kPanel);
    prefetch.advance();
  }
  if (!chunk.state_is_needed) return;
  for (std::int64_t k = 0; k < task.key_dim; k += kTileRows) {
    state_tile<kVectors>(task, chunk, data, k);
    prefetch.advance();
  }
}

template <class T>
TNL_INLINE void unpack_o(const AttentionTask& task, const Chunk& chunk) {
  const AttentionScratch& scratch = task.scratch;
  for (std::int64_t i = 0; i < chunk.tokens; ++i) {
    T* target = static_cast<T*>(task.o.data) + (chunk.first + i) * task.o.stride;
    const float* source = scratch.out + i * scratch.out_stride;
    std::int64_t c = 0;
    for (; c + kLanes <= task.value_dim; c += kLanes) store(target + c, load(source + c));
    if (c < task.value_dim) store_part(target + c, load(source + c), task.value_dim - c);
  }
}

// False, and nothing done, where v is not finite: 0 · NaN in the masked half of P would carry it
// back in time, so such a chunk has to be taken token by token.
template <class T>
bool one_chunk(const AttentionTask& task, const Chunk& chunk) {
  if (!pack_v<T>(task, chunk) && chunk.tokens > 1 && !task.state_only) return false;
  pack_k<T>(task, chunk);
  if (!task.state_only) {
    pack_q<T>(task, chunk);
    scores(task, chunk);
  }
  Prefetch prefetch = plan_prefetch<T>(task, chunk);
  std::int64_t panel = 0;
  for (std::int64_t c = 0; c < task.value_dim; c += kPanel, ++panel) {
    if (task.value_dim - c > kLanes) {
      products<kTileVectors>(task, chunk, panel, prefetch);
    } else {
      products<1>(task, chunk, panel, prefetch);
    }
  }
  if (!task.state_only) unpack_o<T>(task, chunk);
  return true;
}

// Row 0 of the state, from a column that is a multiple of kLanes on.
TNL_INLINE float* state_column(const AttentionScratch& scratch, std::int64_t column) {
  return scratch.panels + column / kPanel * scratch.panel_rows * kPanel + column % kPanel;
}

void enter_state(const AttentionTask& task) {
  const cpu::AttentionState& state = task.state_in;
  for (std::int64_t c = 0; c < task.value_dim; c += kLanes) {
    const std::int64_t columns = least(kLanes, task.value_dim - c);
    float* target = state_column(task.scratch, c);
    const float* source = state.data + c * state.stride_v;
    for (std::int64_t k = 0; k < task.key_dim; ++k) {
      if (state.stride_v == 1) {
        store(target, load_some(source, columns));
      } else {
        for (int x = 0; x < kLanes; ++x) target[x] = x < columns ? source[x * state.stride_v] : 0;
      }
      target += kPanel;
      source += state.stride_k;
    }
  }
}

void leave_state(const AttentionTask& task, bool zero) {
  const cpu::AttentionState& state = task.state_out;
  const float decay = task.decay_state_out && task.tokens > 0 ? task.powers[1] : 1.0f;
  for (std::int64_t c = 0; c < task.value_dim; c += kLanes) {
    const std::int64_t columns = least(kLanes, task.value_dim - c);
    const float* source = state_column(task.scratch, c);
    float* target = state.data + c * state.stride_v;
    for (std::int64_t k = 0; k < task.key_dim; ++k) {
      const Vec value = zero ? Vec{} : load(source) * decay;
      if (state.stride_v == 1 && columns == kLanes) {
        store(target, value);
      } else {
        for (int x = 0; x < columns; ++x) target[x * state.stride_v] = value[x];
      }
      source += kPanel;
      target += state.stride_k;
    }
  }
}

template <class T>
void run(const AttentionTask& task) {
  const bool leaves = task.state_out.data != nullptr;
  Chunk chunk;
  chunk.state_is_zero = task.state_in.data == nullptr;
  chunk.entry = task.state_enters_undecayed ? 0 : 1;
  if (!chunk.state_is_zero) enter_state(task);
  std::int64_t single_until = 0;  // tokens before this one are taken one by one
  while (chunk.first < task.tokens) {
    const std::int64_t left = task.tokens - chunk.first;
    chunk.tokens = chunk.first < single_until ? 1 : least(task.chunk, left);
    chunk.state_is_needed = leaves || chunk.tokens < left;
    if (!one_chunk<T>(task, chunk)) {
      single_until = chunk.first + chunk.tokens;
      continue;
    }
    chunk.first += chunk.tokens;
    chunk.state_is_zero = false;
    chunk.entry = 1;
  }
  if (leaves) leave_state(task, chunk.state_is_zero);
}

void forward(const AttentionTask& task) {
  switch (task.dtype) {
    case DType::kBF16:
      return run<BF16>(task);
    case DType::kF16:
      return run<F16>(task);
    default:
      return run<float>(task);
  }
}

}  // namespace

void attention_step(const cpu::AttentionStepTask& task);
double multiply_adds(std::int64_t repeats, float* sink);
std::uint32_t read_memory(const void* data, std::int64_t bytes);

const cpu::AttentionKernels kAttentionKernels = {kPanel, forward, attention_step, multiply_adds,
                                                 read_memory};

}  // namespace tnl::TNL_TARGET
