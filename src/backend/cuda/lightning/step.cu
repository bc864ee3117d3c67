// Decode: up to eight tokens for each of many sequences, S = λ S + k (value_scale v)ᵀ,
// o = out_scale Sᵀ q, with one read and one write of S for all of them.
//
// A block owns some columns of V of one sequence and head and all rows of K, so that no sum crosses
// a block. A thread reads S in pieces of four columns, keeps several rows in flight, takes them
// through all tokens in registers, and writes them back where they came from.
#include <algorithm>
#include <cmath>

#include "backend/cuda/lightning/kernels.h"
#include "backend/cuda/tile/element.cuh"
#include "backend/cuda/tile/scalar.cuh"
#include "core/try.h"

namespace tnl::cuda {

namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / 32;
constexpr int kMaxSlots = 128, kMaxDecays = 64;  // of one launch: these tables are arguments
constexpr std::int64_t kMaxGrid = 65535;
constexpr std::size_t kMaxSharedBytes = 48 * 1024;

struct StepOperand {
  const char* data;
  std::int64_t stride_batch, stride_token, stride_head;
};

struct StepParams {
  StepOperand q, k, v, o, replay_k, replay_v;
  float* state;
  std::int64_t stride_sequence, stride_head, stride_k;
  const std::int32_t *slots, *accepted;
  const float* decay;
  std::int64_t first_sequence;
  std::int32_t first_head, key_dim, value_dim, tokens, replay_tokens;
  std::int32_t lanes, lane_bits;  // threads along the columns of a block
  float out_scale, value_scale;
  bool keep_state, slots_inline, vector_values;
  std::int32_t slot[kMaxSlots];
  float decays[kMaxDecays];  // λ
};

template <class T>
__device__ __forceinline__ const T* row_of(const StepOperand& x, std::int64_t n, int token,
                                           std::int64_t h) {
  return reinterpret_cast<const T*>(x.data) + n * x.stride_batch + token * x.stride_token +
         h * x.stride_head;
}

// Four values of v, times the scale; vector: they lie at a multiple of their size.
template <class T>
__device__ __forceinline__ float4 load_values(const T* x, float scale, bool vector) {
  float4 y;
  if (!vector) {
    y = make_float4(to_float(x[0]), to_float(x[1]), to_float(x[2]), to_float(x[3]));
  } else if constexpr (sizeof(T) == 4) {
    y = *reinterpret_cast<const float4*>(x);
  } else {
    const uint2 two = *reinterpret_cast<const uint2*>(x);
    y = make_float4(Element<T>::low(two.x), Element<T>::high(two.x), Element<T>::low(two.y),
                    Element<T>::high(two.y));
  }
  return make_float4(scale * y.x, scale * y.y, scale * y.z, scale * y.w);
}

// s = λ s + k v for one row of S.
__device__ __forceinline__ float4 advance(float4 s, float decay, float k, float4 v) {
  return make_float4(fmaf(k, v.x, decay * s.x), fmaf(k, v.y, decay * s.y),
                     fmaf(k, v.z, decay * s.z), fmaf(k, v.w, decay * s.w));
}

__device__ __forceinline__ float4 add(float4 a, float4 b) {
  return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
}

// Shared memory, in floats: k and q of every row and token; then the replayed k, and v. The sums of
// the warps use the same memory afterwards.
template <int kTokens, bool kReplay>
constexpr std::size_t shared_floats(std::size_t key_dim) {
  const std::size_t keys = key_dim * 2 * kTokens;
  const std::size_t replay =
      kReplay ? key_dim * kMostStepTokens + kMostStepTokens * kMostStepColumns : 0;
  return std::max<std::size_t>(keys + replay, kTokens * kWarps * kMostStepColumns);
}

// A few rows of S in registers.
template <int kRows>
struct StateRows {
  float4 s[kRows];

  __device__ __forceinline__ void load(const float* state, std::int64_t stride, int first, int step,
                                       int count) {
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const int at = first + i * step;
      if (at < count) s[i] = *reinterpret_cast<const float4*>(state + at * stride);
    }
  }
  __device__ __forceinline__ void store(float* state, std::int64_t stride, int first, int step,
                                        int count) const {
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const int at = first + i * step;
      if (at < count) *reinterpret_cast<float4*>(state + at * stride) = s[i];
    }
  }
};

// One row of K of `tokens` tokens: all of its loads in flight together, then into shared memory.
template <class T, int kTokens>
struct KeyRow {
  T x[kTokens];

  __device__ __forceinline__ void load(const T* from, std::int64_t stride, int tokens) {
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
      if (t < tokens) x[t] = from[t * stride];
    }
  }
  __device__ __forceinline__ void store(float* to, int tokens) const {
#pragma unroll
    for (int t = 0; t < kTokens; ++t) to[t] = t < tokens ? to_float(x[t]) : 0.f;
  }
};

// Adds the sums of the rows that the threads hold and writes o.
template <class T, int kTokens>
__device__ __forceinline__ void write_output(const StepParams& p, float4 (&sum)[kTokens],
                                             float4* shared, int tokens, std::int64_t n,
                                             std::int64_t head) {
  const int thread = threadIdx.x, lane = thread & (p.lanes - 1);
#pragma unroll
  for (int t = 0; t < kTokens; ++t) {
    if (kTokens > 1 && t >= tokens) break;
    for (int offset = p.lanes; offset < 32; offset *= 2) {
      sum[t] = add(sum[t], make_float4(__shfl_xor_sync(0xffffffffu, sum[t].x, offset),
                                       __shfl_xor_sync(0xffffffffu, sum[t].y, offset),
                                       __shfl_xor_sync(0xffffffffu, sum[t].z, offset),
                                       __shfl_xor_sync(0xffffffffu, sum[t].w, offset)));
    }
    if (thread % 32 < p.lanes) shared[(t * kWarps + thread / 32) * p.lanes + lane] = sum[t];
  }
  __syncthreads();
  for (int i = thread; i < tokens * p.lanes; i += kThreads) {
    const int t = i >> p.lane_bits, at = i & (p.lanes - 1);
    const int to = 4 * (blockIdx.x * p.lanes + at);
    if (to >= p.value_dim) continue;
    float4 x = shared[t * kWarps * p.lanes + at];
#pragma unroll
    for (int warp = 1; warp < kWarps; ++warp) {
      x = add(x, shared[(t * kWarps + warp) * p.lanes + at]);
    }
    T* o = const_cast<T*>(row_of<T>(p.o, n, t, head)) + to;
    from_float(p.out_scale * x.x, o[0]);
    from_float(p.out_scale * x.y, o[1]);
    from_float(p.out_scale * x.z, o[2]);
    from_float(p.out_scale * x.w, o[3]);
  }
}

template <class T, int kTokens, bool kReplay>
__global__ void __launch_bounds__(kThreads, kTokens == 1 ? 8
                                            : kReplay    ? 3
                                                         : 4)
    step_kernel(const __grid_constant__ StepParams p) {
  // One token is all memory: many rows at once. More of them also compute: meanwhile the next rows
  // are under way.
  constexpr bool kAhead = kTokens > 1;
  constexpr int kRows = kAhead ? 4 : 8;
  extern __shared__ float4 shared[];
  const int K = p.key_dim, thread = threadIdx.x;
  const int lane = thread & (p.lanes - 1), row = thread >> p.lane_bits;
  const int step = kThreads >> p.lane_bits;  // rows of S at a time
  const std::int64_t n = p.first_sequence + blockIdx.z, head = p.first_head + blockIdx.y;
  const std::int64_t slot = p.slots != nullptr ? p.slots[n]
                            : p.slots_inline   ? p.slot[blockIdx.z]
                                               : n;
  if (slot < 0) return;
  const int column = 4 * (blockIdx.x * p.lanes + lane);
  const bool inside = column < p.value_dim;
  const int count = inside ? K : 0;  // rows of S that this thread has
  float* state = p.state + slot * p.stride_sequence + head * p.stride_head + column;
  StateRows<kRows> now;
  now.load(state, p.stride_k, row, step, count);  // under way before anything is waited for

  const float decay = p.decay != nullptr ? p.decay[head] : p.decays[blockIdx.y];
  const int tokens = kTokens == 1 ? 1 : p.tokens;
  const int replayed = kReplay ? min(max(p.accepted[n], 0), p.replay_tokens) : 0;
  float* keys = reinterpret_cast<float*>(shared);  // [K][k of the tokens, q of the tokens]
  float* replay_keys = keys + K * 2 * kTokens;     // [K][kMostStepTokens]
  float* replay_values = replay_keys + K * kMostStepTokens;  // [kMostStepTokens][4 lanes]
  // q, k and v are asked for before any of them is waited for: one trip to memory for all.
  KeyRow<T, kTokens> k, q;
  KeyRow<T, kReplay ? kMostStepTokens : 1> replay_k;
  const auto load_keys = [&](int i) {
    k.load(row_of<T>(p.k, n, 0, head) + i, p.k.stride_token, tokens);
    q.load(row_of<T>(p.q, n, 0, head) + i, p.q.stride_token, tokens);
    if constexpr (kReplay) {
      replay_k.load(row_of<T>(p.replay_k, n, 0, head) + i, p.replay_k.stride_token, replayed);
    }
  };
  if (thread < K) load_keys(thread);
  float4 v[kTokens], sum[kTokens];
#pragma unroll
  for (int t = 0; t < kTokens; ++t) {
    sum[t] = v[t] = make_float4(0.f, 0.f, 0.f, 0.f);
    if (inside && t < tokens) {
      v[t] = load_values(row_of<T>(p.v, n, t, head) + column, p.value_scale, p.vector_values);
    }
  }
#pragma unroll 1
  for (int i = thread; i < K;) {
    k.store(keys + i * 2 * kTokens, tokens);
    q.store(keys + i * 2 * kTokens + kTokens, tokens);
    if constexpr (kReplay) replay_k.store(replay_keys + i * kMostStepTokens, replayed);
    i += kThreads;
    if (i < K) load_keys(i);
  }
  if constexpr (kReplay) {
    for (int t = row; t < replayed && inside; t += step) {
      reinterpret_cast<float4*>(replay_values)[t * p.lanes + lane] =
          load_values(row_of<T>(p.replay_v, n, t, head) + column, p.value_scale, p.vector_values);
    }
  }
  __syncthreads();

#pragma unroll 1
  for (int first = row;;) {
    const int following = first + step * kRows;
    StateRows<kRows> next;
    if constexpr (kAhead) next.load(state, p.stride_k, following, step, count);
    if constexpr (kReplay) {
#pragma unroll 4
      for (int t = 0; t < replayed; ++t) {
        const float4 x = reinterpret_cast<const float4*>(replay_values)[t * p.lanes + lane];
#pragma unroll
        for (int i = 0; i < kRows; ++i) {
          const int at = min(first + i * step, K - 1);
          now.s[i] = advance(now.s[i], decay, replay_keys[at * kMostStepTokens + t], x);
        }
      }
      if (!p.keep_state && replayed > 0) now.store(state, p.stride_k, first, step, count);
    }
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const int at = first + i * step;
      if (at >= K) break;
      const float* kq = keys + at * 2 * kTokens;
#pragma unroll
      for (int t = 0; t < kTokens; ++t) {
        if (kTokens > 1 && t >= tokens) break;
        float4& s = now.s[i];
        s = advance(s, decay, kq[t], v[t]);
        const float q = kq[kTokens + t];
        sum[t] = make_float4(fmaf(q, s.x, sum[t].x), fmaf(q, s.y, sum[t].y), fmaf(q, s.z, sum[t].z),
                             fmaf(q, s.w, sum[t].w));
      }
    }
    if (p.keep_state) now.store(state, p.stride_k, first, step, count);
    if (following >= K) break;
    first = following;
    if constexpr (kAhead) {
      now = next;
    } else {
      now.load(state, p.stride_k, first, step, count);
    }
  }
  __syncthreads();  // the keys are read: their memory takes the sums
  write_output<T>(p, sum, shared, tokens, n, head);
}

using StepFunction = void (*)(StepParams);

struct Variant {
  StepFunction function = nullptr;
  std::size_t shared_bytes = 0;
};

template <class T, int kTokens, bool kReplay>
Variant variant(std::int64_t key_dim) {
  return {step_kernel<T, kTokens, kReplay>,
          sizeof(float) * shared_floats<kTokens, kReplay>(static_cast<std::size_t>(key_dim))};
}

template <class T>
Variant variant_of(const AttentionProblem& p, bool replay) {
  if (replay) return variant<T, kMostStepTokens, true>(p.key_dim);
  if (p.tokens == 1) return variant<T, 1, false>(p.key_dim);
  return p.tokens <= 4 ? variant<T, 4, false>(p.key_dim)
                       : variant<T, kMostStepTokens, false>(p.key_dim);
}

Variant choose_variant(const AttentionProblem& p, bool replay) {
  if (p.dtype == DType::kBF16) return variant_of<__nv_bfloat16>(p, replay);
  if (p.dtype == DType::kF16) return variant_of<__half>(p, replay);
  return variant_of<float>(p, replay);
}

bool steps_fast(const AttentionProblem& p, const Variant& variant) {
  const AttentionStateOperand& s = p.state_out;
  return p.state_in.data == s.data && s.stride_v == 1 && s.stride_k % 4 == 0 &&
         s.stride_head % 4 == 0 && s.stride_sequence % 4 == 0 &&
         reinterpret_cast<std::uintptr_t>(s.data) % 16 == 0 && p.value_dim % 4 == 0 &&
         p.key_dim > 0 && variant.shared_bytes <= kMaxSharedBytes && !p.reverse &&
         !p.state_enters_undecayed && !p.decay_state_out;
}

StepOperand operand(const AttentionOperand& x) {
  return {static_cast<const char*>(x.data), x.stride_batch, x.stride_token, x.stride_head};
}

bool vectors(const AttentionOperand& x, DType dtype) {
  const std::uintptr_t bytes = dtype == DType::kF32 ? 16 : 8;
  return reinterpret_cast<std::uintptr_t>(x.data) % bytes == 0 && x.stride_batch % 4 == 0 &&
         x.stride_token % 4 == 0 && x.stride_head % 4 == 0;
}

Status launch_steps(const AttentionProblem& problem, const AttentionStep& step,
                    const StepTuning& tuning, const Variant& variant, cudaStream_t stream) {
  StepParams params{};
  params.q = operand(problem.q);
  params.k = operand(problem.k);
  params.v = operand(problem.v);
  params.o = operand(problem.o);
  params.replay_k = operand(step.replay.k);
  params.replay_v = operand(step.replay.v);
  params.state = static_cast<float*>(problem.state_out.data);
  params.stride_sequence = problem.state_out.stride_sequence;
  params.stride_head = problem.state_out.stride_head;
  params.stride_k = problem.state_out.stride_k;
  params.slots = step.device_slots;
  params.accepted = step.replay.accepted;
  params.decay = tuning.decay;
  params.key_dim = static_cast<std::int32_t>(problem.key_dim);
  params.value_dim = static_cast<std::int32_t>(problem.value_dim);
  params.tokens = static_cast<std::int32_t>(problem.tokens);
  params.replay_tokens = step.replay.tokens;
  params.out_scale = static_cast<float>(problem.out_scale);
  params.value_scale = static_cast<float>(problem.value_scale);
  params.keep_state = step.keep_state;
  params.vector_values = vectors(problem.v, problem.dtype) &&
                         (step.replay.tokens == 0 || vectors(step.replay.v, problem.dtype));
  params.slots_inline = step.device_slots == nullptr && !step.slots.empty();
  const int columns = tuning.columns > 0 ? tuning.columns : choose_step_columns(problem);
  params.lanes = columns / 4;
  while ((1 << params.lane_bits) < params.lanes) ++params.lane_bits;
  const auto blocks = static_cast<unsigned>((problem.value_dim + columns - 1) / columns);
  const std::int64_t most_sequences = params.slots_inline ? kMaxSlots : kMaxGrid;
  const std::int64_t most_heads = tuning.decay == nullptr ? kMaxDecays : kMaxGrid;
  for (std::int64_t n = 0; n < problem.sequences; n += most_sequences) {
    const std::int64_t sequences = std::min(most_sequences, problem.sequences - n);
    params.first_sequence = n;
    for (std::int64_t i = 0; params.slots_inline && i < sequences; ++i) {
      params.slot[i] = static_cast<std::int32_t>(step.slots[n + i]);
    }
    for (std::int64_t h = 0; h < problem.heads; h += most_heads) {
      const std::int64_t heads = std::min(most_heads, problem.heads - h);
      params.first_head = static_cast<std::int32_t>(h);
      for (std::int64_t i = 0; tuning.decay == nullptr && i < heads; ++i) {
        params.decays[i] = static_cast<float>(std::exp2(log2_decay(problem.log_decay[h + i])));
      }
      const dim3 grid(blocks, static_cast<unsigned>(heads), static_cast<unsigned>(sequences));
      variant.function<<<grid, kThreads, variant.shared_bytes, stream>>>(params);
      TNL_TRY(cuda_status(cudaGetLastError(), "launching the attention step"));
    }
  }
  return {};
}

// The same through the general path: what is replayed first, then the tokens of the call.
Status run_general_step(const AttentionProblem& problem, const AttentionStep& step,
                        const StepTuning& tuning, cudaStream_t stream) {
  DeviceTables tables{.slots = step.device_slots, .decay = tuning.decay};
  if (step.replay.tokens > 0) {
    AttentionProblem replay = problem;
    replay.q = replay.k = step.replay.k;
    replay.v = step.replay.v;
    replay.o = {};
    replay.tokens = step.replay.tokens;
    tables.lengths = step.replay.accepted;
    TNL_TRY(run_general(replay, step.slots, stream, tables));
    tables.lengths = nullptr;
  }
  if (problem.tokens == 0) return {};
  AttentionProblem own = problem;
  if (!step.keep_state) own.state_out.data = nullptr;
  return run_general(own, step.slots, stream, tables);
}

}  // namespace

Status run_step(const AttentionProblem& problem, const AttentionStep& step, cudaStream_t stream,
                const StepTuning& tuning) {
  const bool replay = step.replay.tokens > 0;
  TNL_TRY(check_step(problem, step, tuning));
  if ((problem.tokens == 0 && !replay) || problem.sequences == 0 || problem.heads == 0 ||
      problem.value_dim == 0) {
    return {};
  }
  const Variant variant = choose_variant(problem, replay);
  return !tuning.general && steps_fast(problem, variant)
             ? launch_steps(problem, step, tuning, variant, stream)
             : run_general_step(problem, step, tuning, stream);
}

}  // namespace tnl::cuda
