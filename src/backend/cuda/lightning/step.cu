// Decode: one token for each of many sequences, S = λ S + k (value_scale v)ᵀ, o = out_scale Sᵀ q.
//
// A block owns one sequence and head. Its threads read S in rows of four columns each, keep several
// rows in flight, and write them back where they came from: the step is bound by that traffic.
#include <algorithm>
#include <cmath>

#include "backend/cuda/lightning/kernels.h"
#include "backend/cuda/tile/scalar.cuh"
#include "core/try.h"

namespace tnl::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kRowsInFlight = 8;
constexpr int kMaxHeads = 128, kMaxSequences = 256;  // of one launch: their tables are arguments
constexpr std::int64_t kMaxColumns = 4 * kThreads, kMaxKeys = 2048;

struct StepOperand {
  const char* data;
  std::int64_t stride_batch, stride_head;
};

struct StepParams {
  StepOperand q, k, v, o;
  float* state;
  std::int64_t stride_sequence, stride_head, stride_k;
  std::int64_t slot[kMaxSequences];
  float decay[kMaxHeads];  // λ
  std::int64_t first_sequence;
  int first_head, key_dim, value_dim;
  float out_scale, value_scale;
};

template <class T>
__device__ __forceinline__ const T* row_of(const StepOperand& x, std::int64_t n, std::int64_t h) {
  return reinterpret_cast<const T*>(x.data) + n * x.stride_batch + h * x.stride_head;
}

template <class T>
__global__ void __launch_bounds__(kThreads) step_kernel(const __grid_constant__ StepParams p) {
  __shared__ float q[kMaxKeys], k[kMaxKeys];
  __shared__ float4 sums[kThreads];
  const std::int64_t n = p.first_sequence + blockIdx.y, head = p.first_head + blockIdx.x;
  const int thread = threadIdx.x, lanes = p.value_dim / 4;  // threads along a row of S
  const int rows = kThreads / lanes;                        // rows of S at a time
  const int row = thread / lanes, column = 4 * (thread % lanes);
  const bool active = row < rows;
  float* state = p.state + p.slot[blockIdx.y] * p.stride_sequence + head * p.stride_head + column;
  const float decay = p.decay[blockIdx.x];

  for (int i = thread; i < p.key_dim; i += kThreads) {
    q[i] = to_float(row_of<T>(p.q, n, head)[i]);
    k[i] = to_float(row_of<T>(p.k, n, head)[i]);
  }
  float4 v = make_float4(0.f, 0.f, 0.f, 0.f), sum = v;
  if (active) {
    const T* x = row_of<T>(p.v, n, head) + column;
    v = make_float4(p.value_scale * to_float(x[0]), p.value_scale * to_float(x[1]),
                    p.value_scale * to_float(x[2]), p.value_scale * to_float(x[3]));
  }
  __syncthreads();
  if (active) {
    for (int first = row; first < p.key_dim; first += rows * kRowsInFlight) {
      float4 s[kRowsInFlight];
#pragma unroll
      for (int i = 0; i < kRowsInFlight; ++i) {
        const int at = first + i * rows;
        if (at < p.key_dim) s[i] = *reinterpret_cast<const float4*>(state + at * p.stride_k);
      }
#pragma unroll
      for (int i = 0; i < kRowsInFlight; ++i) {
        const int at = first + i * rows;
        if (at >= p.key_dim) break;
        const float a = k[at], b = q[at];
        s[i] = make_float4(fmaf(a, v.x, decay * s[i].x), fmaf(a, v.y, decay * s[i].y),
                           fmaf(a, v.z, decay * s[i].z), fmaf(a, v.w, decay * s[i].w));
        sum = make_float4(fmaf(b, s[i].x, sum.x), fmaf(b, s[i].y, sum.y), fmaf(b, s[i].z, sum.z),
                          fmaf(b, s[i].w, sum.w));
        *reinterpret_cast<float4*>(state + at * p.stride_k) = s[i];
      }
    }
  }
  sums[thread] = sum;
  __syncthreads();
  if (row != 0) return;
  for (int i = 1; i < rows; ++i) {
    const float4 x = sums[i * lanes + thread];
    sum = make_float4(sum.x + x.x, sum.y + x.y, sum.z + x.z, sum.w + x.w);
  }
  T* o = const_cast<T*>(row_of<T>(p.o, n, head)) + column;
  from_float(p.out_scale * sum.x, o[0]);
  from_float(p.out_scale * sum.y, o[1]);
  from_float(p.out_scale * sum.z, o[2]);
  from_float(p.out_scale * sum.w, o[3]);
}

bool steps_fast(const AttentionProblem& p) {
  const AttentionStateOperand& s = p.state_out;
  return p.state_in.data == s.data && s.stride_v == 1 && s.stride_k % 4 == 0 &&
         s.stride_head % 4 == 0 && s.stride_sequence % 4 == 0 &&
         reinterpret_cast<std::uintptr_t>(s.data) % 16 == 0 && p.value_dim % 4 == 0 &&
         p.value_dim > 0 && p.value_dim <= kMaxColumns && p.key_dim <= kMaxKeys && p.tokens == 1 &&
         p.cu_seqlens.empty() && !p.state_enters_undecayed && !p.decay_state_out &&
         p.dtype != DType::kF64;
}

StepOperand operand(const AttentionOperand& x) {
  return {static_cast<const char*>(x.data), x.stride_batch, x.stride_head};
}

}  // namespace

Status run_step(const AttentionProblem& problem, std::span<const std::int64_t> slots,
                cudaStream_t stream) {
  if (!steps_fast(problem)) return run_general(problem, slots, stream);
  StepParams params{};
  params.q = operand(problem.q);
  params.k = operand(problem.k);
  params.v = operand(problem.v);
  params.o = operand(problem.o);
  params.state = static_cast<float*>(problem.state_out.data);
  params.stride_sequence = problem.state_out.stride_sequence;
  params.stride_head = problem.state_out.stride_head;
  params.stride_k = problem.state_out.stride_k;
  params.key_dim = static_cast<int>(problem.key_dim);
  params.value_dim = static_cast<int>(problem.value_dim);
  params.out_scale = static_cast<float>(problem.out_scale);
  params.value_scale = static_cast<float>(problem.value_scale);
  for (std::int64_t n = 0; n < problem.sequences; n += kMaxSequences) {
    const std::int64_t sequences = std::min<std::int64_t>(kMaxSequences, problem.sequences - n);
    params.first_sequence = n;
    for (std::int64_t i = 0; i < sequences; ++i) {
      params.slot[i] = slots.empty() ? n + i : slots[n + i];
    }
    for (std::int64_t h = 0; h < problem.heads; h += kMaxHeads) {
      const std::int64_t heads = std::min<std::int64_t>(kMaxHeads, problem.heads - h);
      params.first_head = static_cast<int>(h);
      for (std::int64_t i = 0; i < heads; ++i) params.decay[i] = std::exp(problem.log_decay[h + i]);
      const dim3 grid(static_cast<unsigned>(heads), static_cast<unsigned>(sequences));
      switch (problem.dtype) {
        case DType::kBF16:
          step_kernel<__nv_bfloat16><<<grid, kThreads, 0, stream>>>(params);
          break;
        case DType::kF16:
          step_kernel<__half><<<grid, kThreads, 0, stream>>>(params);
          break;
        default:
          step_kernel<float><<<grid, kThreads, 0, stream>>>(params);
      }
      TNL_TRY(cuda_status(cudaGetLastError(), "launching the attention step"));
    }
  }
  return {};
}

}  // namespace tnl::cuda
