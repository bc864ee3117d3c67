// The lightning attention sweep on sm_80 and later (docs/kernels/lightning_sm80.md).
//
// A block walks over one sequence and head, 32 tokens a step. Its warps own 16 columns of V each
// and keep Sᵀ[16, K] in registers in fp32:
//   P  = q kᵀ, masked and decayed, each warp a part of it       [32 queries, 32 keys]
//   Oᵀ = decay · Sᵀ qᵀ + Vᵀ Pᵀ                                  [16 values, 32 queries]
//   Sᵀ = λ^32 Sᵀ + (Vᵀ · decay) k                               [16 values, K]
// Rows lie in shared memory in the order of time, so that a reverse sweep is the same loop.
#pragma once

#include "backend/cuda/lightning/mma_config.h"
#include "backend/cuda/lightning/row_params.cuh"
#include "backend/cuda/ptx/matrix.cuh"
#include "backend/cuda/ptx/mma.cuh"
#include "backend/cuda/tile/element.cuh"
#include "backend/cuda/tile/state_io.cuh"

namespace tnl::cuda {

// Where a thread stands: element 4 n + e of a thread's accumulators lies in row group + 8 (e / 2)
// of its warp's 16 and in column 8 n + pair + e % 2.
struct MmaLane {
  int thread, warp, lane, group, pair;  // thread and warp: of the four warps of a tile of V
  int matrix, row;                      // for ldmatrix: which 8x8 matrix and which of its rows

  __device__ __forceinline__ explicit MmaLane(int thread_)
      : thread(thread_ % 128),
        warp(thread / 32),
        lane(thread_ % 32),
        group(lane / 4),
        pair(2 * (lane % 4)),
        matrix(lane / 8),
        row(lane % 8) {}
};

// Byte offset of a 16-byte piece in a tile of rows of kPitch bytes.
template <int kPitch>
__device__ __forceinline__ std::uint32_t piece_offset(int row, int piece) {
  return row * kPitch + ((piece ^ (row & 7)) * 16);
}

// The same so many pieces further on in its row; from a piece whose number has none of their bits.
// Tiles start at multiples of 128 bytes.
__device__ __forceinline__ std::uint32_t further(std::uint32_t address, int pieces) {
  return (address ^ ((pieces % 8) * 16)) + pieces / 8 * 128;
}

// Copies 32 tokens from `time` on, kPitch / 2 columns from `first_column` on, of operand `which`;
// what lies outside its tokens or columns is filled with zeros and never read.
template <class Config, int kPitch>
__device__ __forceinline__ void load_tile(std::uint32_t tile, const RowOrigin& origin, int which,
                                          int time, int tokens, int first_column, int columns) {
  constexpr int kPieces = kPitch / 16, kRowsAtOnce = Config::kThreads / kPieces;
  const int first = static_cast<int>(threadIdx.x) / kPieces;
  const int piece = static_cast<int>(threadIdx.x) % kPieces;
  const int column = first_column + 8 * piece;
  const int bytes = min(max(2 * (columns - column), 0), 16);
  const std::int64_t stride = origin.stride_token[which];
  const char* base = origin.data[which];
  const char* from = base + (time + first) * stride + 2 * column;
#pragma unroll
  for (int i = 0; i < Config::kRows / kRowsAtOnce; ++i) {
    const int row = first + i * kRowsAtOnce;
    const int count = row < tokens ? bytes : 0;
    ptx::copy_async(tile + piece_offset<kPitch>(row, piece), count > 0 ? from : base, count);
    from += kRowsAtOnce * stride;
  }
}

template <class Config>
__device__ __forceinline__ void load_step(std::uint32_t stage, const RowOrigin& origin,
                                          const RowCall& call, int time, int tokens,
                                          bool with_output, int first_value) {
  if (with_output) {
    load_tile<Config, Config::kKeyPitch>(stage, origin, 0, time, tokens, 0, call.key_dim);
  }
  load_tile<Config, Config::kKeyPitch>(stage + Config::kKeyBytes, origin, 1, time, tokens, 0,
                                       call.key_dim);
  load_tile<Config, Config::kValuePitch>(stage + 2 * Config::kKeyBytes, origin, 2, time, tokens,
                                         first_value, call.value_dim);
}

// P = q kᵀ in parts of 16 queries by 8 keys, dealt out to the warps; those above the diagonal are
// never read.
template <class T, class Config>
struct Scores {
  static constexpr int kParts = 8 / Config::kWarps;  // of a warp, side by side
  static constexpr int kSteps = 4 * Config::kKeyTiles;
  int rows, first;  // 16s of queries, eights of keys
  float factor[kParts][4], p[kParts][4];

  __device__ __forceinline__ Scores(const RowDecay<Config::kRows>& table, int warp,
                                    const MmaLane& at)
      : rows(warp * kParts / 4), first(warp * kParts % 4) {
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int age = 16 * rows + at.group + 8 * (e / 2) - (8 * (first + part) + at.pair + e % 2);
        factor[part][e] = age < 0 ? 0.f : table.between[age];
      }
    }
  }
  __device__ __forceinline__ bool needed() const {
    return first < 2 * (rows + 1);
  }

  __device__ __forceinline__ void compute(std::uint32_t q, std::uint32_t k, const MmaLane& at) {
    float other[kParts][4];  // two chains of products are in flight
#pragma unroll
    for (int i = 0; i < kParts * 4; ++i) p[i / 4][i % 4] = other[i / 4][i % 4] = 0.f;
    constexpr int kPitch = Config::kKeyPitch;
    const std::uint32_t a_at =
        q + piece_offset<kPitch>(16 * rows + 8 * (at.matrix & 1) + at.row, at.matrix / 2);
    const std::uint32_t b_at =
        k + (kParts == 1
                 ? piece_offset<kPitch>(8 * first + at.row, at.matrix)
                 : piece_offset<kPitch>(8 * (first + at.matrix / 2) + at.row, at.matrix & 1));
#pragma unroll
    for (int step = 0; step < kSteps; step += 2) {
      std::uint32_t a[2][4], b[2][4];
      ptx::load_matrix(a[0], further(a_at, 2 * step));
      ptx::load_matrix(a[1], further(a_at, 2 * step + 2));
      ptx::load_matrix(b[0], further(b_at, 2 * step));
      if constexpr (kParts == 1) {
        ptx::mma(T{}, p[0], a[0], b[0][0], b[0][1]);
        ptx::mma(T{}, other[0], a[1], b[0][2], b[0][3]);
      } else {
        ptx::load_matrix(b[1], further(b_at, 2 * step + 2));
#pragma unroll
        for (int part = 0; part < kParts; ++part) {
          ptx::mma(T{}, p[part], a[0], b[0][2 * part], b[0][2 * part + 1]);
          ptx::mma(T{}, other[part], a[1], b[1][2 * part], b[1][2 * part + 1]);
        }
      }
    }
#pragma unroll
    for (int i = 0; i < kParts * 4; ++i) {
      float& x = p[i / 4][i % 4];
      // The masked half is written, not multiplied: a NaN there goes nowhere.
      const float f = factor[i / 4][i % 4];
      x = f == 0.f ? 0.f : f * (x + other[i / 4][i % 4]);
    }
  }

  __device__ __forceinline__ void publish(std::uint32_t tile, const MmaLane& at) const {
    using E = Element<T>;
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float x = p[part][2 * half], y = p[part][2 * half + 1];
        const std::uint32_t high = E::pack(x, y);
        const std::uint32_t address = tile +
                                      (16 * rows + 8 * half + at.group) * Config::kScorePitch +
                                      2 * (8 * (first + part) + at.pair);
        asm volatile("st.shared.b32 [%0], %1;" ::"r"(address), "r"(high) : "memory");
        if constexpr (Config::kSplit == Split::kAll) {
          const std::uint32_t low = E::pack(x - E::low(high), y - E::high(high));
          asm volatile("st.shared.b32 [%0], %1;" ::"r"(address + Config::kScoreBytes), "r"(low)
                       : "memory");
        }
      }
    }
  }
};

// A warp's own columns of V: Sᵀ, and Oᵀ of one step.
template <class T, class Config>
struct Columns {
  using E = Element<T>;
  static constexpr int kRows = Config::kRows;
  static constexpr int kSteps = 4 * Config::kKeyTiles;
  static constexpr int kState = 32 * Config::kKeyTiles;
  static constexpr bool kSplitState = Config::kSplit != Split::kNone;
  static constexpr bool kSplitAll = Config::kSplit == Split::kAll;

  float s[kState], o[4][4];
  std::uint32_t v[2][4];

  // Oᵀ = factor · Sᵀ qᵀ
  __device__ __forceinline__ void query_state(std::uint32_t q, const float* to_row,
                                              const MmaLane& at) {
#pragma unroll
    for (int i = 0; i < 16; ++i) o[i / 4][i % 4] = 0.f;
    const std::uint32_t b_at =
        q + piece_offset<Config::kKeyPitch>(8 * (at.matrix / 2) + at.row, at.matrix & 1);
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      const float* x = s + 8 * step;
      std::uint32_t high[4], low[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        high[i] = E::pack(x[2 * i], x[2 * i + 1]);
        if constexpr (kSplitState) {
          low[i] = E::pack(x[2 * i] - E::low(high[i]), x[2 * i + 1] - E::high(high[i]));
        }
      }
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        std::uint32_t b[4];
        ptx::load_matrix(b, further(b_at, 2 * step) + 16 * half * Config::kKeyPitch);
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          ptx::mma(T{}, o[2 * half + i], high, b[2 * i], b[2 * i + 1]);
          if constexpr (kSplitState) ptx::mma(T{}, o[2 * half + i], low, b[2 * i], b[2 * i + 1]);
        }
      }
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float even = to_row[8 * i + at.pair], odd = to_row[8 * i + at.pair + 1];
      o[i][0] *= even;
      o[i][1] *= odd;
      o[i][2] *= even;
      o[i][3] *= odd;
    }
  }

  __device__ __forceinline__ void load_values(std::uint32_t tile, int warp, const MmaLane& at) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      ptx::load_matrix_transposed(
          v[i], tile + piece_offset<Config::kValuePitch>(16 * i + 8 * (at.matrix / 2) + at.row,
                                                         2 * warp + (at.matrix & 1)));
    }
  }

  // Oᵀ += Vᵀ Pᵀ; the first 16 queries see the first 16 keys only.
  __device__ __forceinline__ void add_values(std::uint32_t scores, const MmaLane& at) {
#pragma unroll
    for (int keys = 0; keys < 2; ++keys) {
#pragma unroll
      for (int half = keys; half < 2; ++half) {
        const std::uint32_t address =
            scores + (16 * half + 8 * (at.matrix / 2) + at.row) * Config::kScorePitch +
            (2 * keys + (at.matrix & 1)) * 16;
#pragma unroll
        for (int part = 0; part < (kSplitAll ? 2 : 1); ++part) {
          std::uint32_t b[4];
          ptx::load_matrix(b, address + part * Config::kScoreBytes);
#pragma unroll
          for (int i = 0; i < 2; ++i) {
            ptx::mma(T{}, o[2 * half + i], v[keys], b[2 * i], b[2 * i + 1]);
          }
        }
      }
    }
  }

  // Sᵀ = decay Sᵀ + (Vᵀ · to_end) k
  __device__ __forceinline__ void update_state(std::uint32_t k, float decay, const float* to_end,
                                               const MmaLane& at) {
#pragma unroll
    for (int i = 0; i < kState; ++i) s[i] *= decay;
    const std::uint32_t b_at =
        k + piece_offset<Config::kKeyPitch>(8 * (at.matrix & 1) + at.row, at.matrix / 2);
#pragma unroll
    for (int keys = 0; keys < 2; ++keys) {
      std::uint32_t high[4], low[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float* factor = to_end + 16 * keys + 8 * (i / 2) + at.pair;
        const float x = E::low(v[keys][i]) * factor[0], y = E::high(v[keys][i]) * factor[1];
        high[i] = E::pack(x, y);
        if constexpr (kSplitAll) low[i] = E::pack(x - E::low(high[i]), y - E::high(high[i]));
      }
#pragma unroll
      for (int step = 0; step < kSteps; ++step) {
        std::uint32_t b[4];
        ptx::load_matrix_transposed(b, further(b_at, 2 * step) + 16 * keys * Config::kKeyPitch);
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          float(&d)[4] = reinterpret_cast<float(&)[4]>(s[4 * (2 * step + i)]);
          ptx::mma(T{}, d, high, b[2 * i], b[2 * i + 1]);
          if constexpr (kSplitAll) ptx::mma(T{}, d, low, b[2 * i], b[2 * i + 1]);
        }
      }
    }
  }

  // O through the warp's own columns of the tile of V, which it has read, to memory.
  __device__ __forceinline__ void store_output(std::uint32_t tile, const RowOrigin& origin,
                                               const RowCall& call, int time, int tokens, int warp,
                                               int value, const MmaLane& at) const {
    __syncwarp();
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const std::uint32_t x = ptx::transpose_matrix(E::pack(o[i][2 * half], o[i][2 * half + 1]));
        asm volatile(
            "st.shared.b32 [%0], %1;" ::"r"(
                tile + piece_offset<Config::kValuePitch>(8 * i + at.group, 2 * warp + half) +
                2 * at.pair),
            "r"(x)
            : "memory");
      }
    }
    __syncwarp();
    const int piece = at.lane % 2, first = value + 8 * piece;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = 16 * half + at.lane / 2;
      if (row >= tokens || first >= call.value_dim) continue;
      uint4 x;
      asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
                   : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
                   : "r"(tile + piece_offset<Config::kValuePitch>(row, 2 * warp + piece))
                   : "memory");
      char* to = origin.data[3] + (time + row) * origin.stride_token[3] + 2 * first;
      if (first + 8 <= call.value_dim) {
        *reinterpret_cast<uint4*>(to) = x;
        continue;
      }
      const std::uint32_t words[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
      for (int c = 0; c < 8; ++c) {
        if (first + c < call.value_dim) {
          reinterpret_cast<std::uint16_t*>(to)[c] =
              static_cast<std::uint16_t>(words[c / 2] >> (16 * (c % 2)));
        }
      }
    }
  }
};

template <class T, class Config>
__global__ void __launch_bounds__(Config::kThreads, Config::kBlocksPerSm)
    mma_kernel(const __grid_constant__ RowParams params) {
  constexpr int kRows = Config::kRows, kStages = Config::kStages;
  extern __shared__ __align__(128) std::uint8_t dynamic_shared[];
  __shared__ RowDecay<kRows> table;
  __shared__ RowOrigin origin;
  const std::uint32_t stages = static_cast<std::uint32_t>(__cvta_generic_to_shared(dynamic_shared));
  const std::uint32_t scores_tile = stages + Config::kScoresOffset;

  const int group = blockIdx.x / params.blocks_per_item;
  const int first_tile = blockIdx.x % params.blocks_per_item * Config::kWorkers;
  const WorkItem item = params.work != nullptr ? params.work[group] : uniform_item(params, group);
  const RowCall& call = params.calls[item.call];
  const int thread = threadIdx.x, warp = thread / 32;
  const MmaLane at(thread);
  const int value_tile = first_tile + warp / 4, value = first_tile * kTile + 16 * warp;
  const bool active = value < call.value_dim;

  const RowSteps<kRows> steps(item);
  const auto load = [&](int step) {
    if (step < steps.count) {
      load_step<Config>(stages + step % kStages * Config::kStageBytes, origin, call, step * kRows,
                        steps.tokens_of(step), step >= steps.warm, first_tile * kTile);
    }
    ptx::copy_async_commit();  // an empty group keeps the count
  };
  origin.fill(call, item, thread);
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kStages - 1; ++i) load(i);

  table.fill(decay_of(params, item.head), call, thread);
  Columns<T, Config> own;
  const bool undecayed = load_state<Config::kKeyTiles>(own.s, params, call, item, value_tile, at);
  __syncthreads();
  Scores<T, Config> scores(table, warp, at);

#pragma unroll 1
  for (int step = 0; step < steps.count; ++step) {
    const std::uint32_t q = stages + step % kStages * Config::kStageBytes;
    const std::uint32_t k = q + Config::kKeyBytes, v = k + Config::kKeyBytes;
    const int tokens = steps.tokens_of(step), late = step == 0 && undecayed ? 0 : 1;
    const bool output = step >= steps.warm;
    ptx::copy_async_wait<kStages - 2>();
    __syncthreads();  // the step has landed; all are done with the one before
    load(step + kStages - 1);
    if (output) {
      if (scores.needed()) {
        scores.compute(q, k, at);
        scores.publish(scores_tile, at);
      }
      if (active) own.query_state(q, table.to_row + late, at);
      __syncthreads();
    }
    if (!active) continue;
    own.load_values(v, warp, at);
    if (output) own.add_values(scores_tile, at);
    own.update_state(k, table.power[tokens - 1 + late], table.to_end + kRows - tokens, at);
    if (output) own.store_output(v, origin, call, step * kRows, tokens, warp, value, at);
  }
  ptx::copy_async_wait<0>();
  if (active) {
    store_state<Config::kKeyTiles>(own.s, params, call, item, table.power[1], value_tile, at);
  }
}

}  // namespace tnl::cuda
