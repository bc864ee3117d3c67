// What the attention kernels of every CPU target get and offer. Plain data: this header is read by
// code of all targets.
#pragma once

#include <cstdint>

#include "tnl/tensor.h"

namespace tnl::cpu {

// Where a task keeps its chunk, in floats. Row strides are odd multiples of a cache line, so that a
// walk down a column does not fall on a few cache sets.
struct AttentionScratch {
  float* q = nullptr;          // [key_dim][chunk_stride], transposed
  float* scores = nullptr;     // [chunk][chunk_stride], Pᵀ: row j, column i
  float* k = nullptr;          // [chunk][key_stride]
  float* k_decayed = nullptr;  // [chunk][key_stride], row j times λ^(n-1-j)
  float* panels = nullptr;     // [panels][panel_rows][panel]: key rows of the state, then v's chunk
  float* out = nullptr;        // [chunk][out_stride]
  std::int64_t chunk_stride = 0;
  std::int64_t key_stride = 0;
  std::int64_t key_rows = 0;    // of a panel
  std::int64_t panel_rows = 0;  // key_rows and the chunk
  std::int64_t out_stride = 0;
};

// One of q, k, v, o of one sequence and head: row t lies at data + t * stride elements.
struct AttentionRows {
  void* data = nullptr;
  std::int64_t stride = 0;  // negative where time runs backwards
};

struct AttentionState {
  float* data = nullptr;
  std::int64_t stride_k = 0;
  std::int64_t stride_v = 0;
};

// Some tokens of one sequence, one head, one slice of V.
struct AttentionTask {
  DType dtype = DType::kF32;  // f32, bf16 or f16
  std::int64_t tokens = 0;
  std::int64_t key_dim = 0;
  std::int64_t value_dim = 0;  // of the slice
  std::int64_t chunk = 0;
  AttentionRows q, k, v, o;
  AttentionState state_in, state_out;
  // powers[n] = λ^n for 0 <= n <= chunk + kPowersAfter, 0 for -kPowersBefore <= n < 0.
  const float* powers = nullptr;
  float out_scale = 1;
  float value_scale = 1;
  bool decay_state_out = false;
  bool state_enters_undecayed = false;
  bool state_only = false;  // q and o are not looked at
  AttentionScratch scratch;
};

inline constexpr std::int64_t kPowersBefore = 32;
inline constexpr std::int64_t kPowersAfter = 32;

// 1 to 8 tokens of one sequence and head; the state is updated in place.
struct AttentionStepTask {
  DType dtype = DType::kF32;
  int tokens = 1;
  std::int64_t key_dim = 0;
  std::int64_t value_dim = 0;
  AttentionRows q = {}, k = {}, v = {},
                o = {};  // without o.data only the state is computed, and q is not read
  float* state = nullptr;
  bool keep_state = true;  // false: not written
  std::int64_t stride_k = 0;
  float decay = 1;
  float out_scale = 1;
  float value_scale = 1;
};

struct AttentionKernels {
  std::int64_t panel;  // columns of V that one pass of the micro-kernel covers
  void (*forward)(const AttentionTask& task);
  void (*step)(const AttentionStepTask& task);
  // Runs fused multiply-adds on registers alone for about `repeats` * 1e3 iterations and returns
  // how many floating point operations that were; *sink keeps them from being left out.
  double (*multiply_adds)(std::int64_t repeats, float* sink);
  // Reads whole vectors and returns what keeps them from being left out.
  std::uint32_t (*read_memory)(const void* data, std::int64_t bytes);
};

}  // namespace tnl::cpu

namespace tnl::generic {
extern const cpu::AttentionKernels kAttentionKernels;
}
namespace tnl::avx2 {
extern const cpu::AttentionKernels kAttentionKernels;
}
namespace tnl::avx512 {
extern const cpu::AttentionKernels kAttentionKernels;
}
