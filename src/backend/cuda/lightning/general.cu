// The general path: the recurrence token by token, in fp32, for whatever the sweep does not take.
//
// A block owns a few columns of V of one sequence and head and keeps their part of S, [K, columns],
// in shared memory. A thread owns one column and every `parts`-th row of K.
#include <algorithm>
#include <cmath>

#include "backend/cuda/lightning/kernels.h"
#include "backend/cuda/tile/scalar.cuh"
#include "core/try.h"

namespace tnl::cuda {

namespace {

constexpr int kThreads = kGeneralThreads;
constexpr int kMaxRows = 128;  // sequences, and heads, of one launch: their tables are arguments

struct Operand {
  char* data;
  std::int64_t stride_batch, stride_token, stride_head;
};

struct GeneralParams {
  Operand q, k, v, o;
  AttentionStateOperand state_in, state_out;
  std::int64_t begin[kMaxRows], length[kMaxRows], slot[kMaxRows];
  float decay[kMaxRows];  // λ
  std::int64_t first_sequence, key_dim, value_dim;
  int first_head, columns;
  float out_scale, value_scale;
  bool packed, reverse, undecayed, decay_out;
  DeviceTables tables;
};

template <class T>
__device__ __forceinline__ T* row_of(const Operand& x, const GeneralParams& p, std::int64_t n,
                                     std::int64_t token, std::int64_t head) {
  return reinterpret_cast<T*>(x.data) + (p.packed ? 0 : n * x.stride_batch) +
         token * x.stride_token + head * x.stride_head;
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    general_kernel(const __grid_constant__ GeneralParams p) {
  extern __shared__ float shared[];
  const int columns = p.columns, parts = kThreads / columns;
  const int K = static_cast<int>(p.key_dim);
  float* state = shared;           // [K, columns]
  float* q = state + K * columns;  // [K]
  float* k = q + K;                // [K]
  float* sums = k + K;             // [parts, columns]
  const int column = threadIdx.x % columns, part = threadIdx.x / columns;
  const std::int64_t value = std::int64_t{blockIdx.x} * columns + column;
  const bool inside = value < p.value_dim;
  const std::int64_t n = p.first_sequence + blockIdx.z, head = p.first_head + blockIdx.y;
  const std::int64_t begin = p.begin[blockIdx.z];
  const std::int64_t length =
      p.tables.lengths == nullptr
          ? p.length[blockIdx.z]
          : min(p.length[blockIdx.z], std::int64_t{max(p.tables.lengths[n], 0)});
  const std::int64_t slot = p.tables.slots == nullptr ? p.slot[blockIdx.z] : p.tables.slots[n];
  const float decay = p.tables.decay == nullptr ? p.decay[blockIdx.y] : p.tables.decay[head];
  if (slot < 0) return;
  const auto state_at = [&](const AttentionStateOperand& x, int row) -> float& {
    return static_cast<float*>(x.data)[slot * x.stride_sequence + head * x.stride_head +
                                       row * x.stride_k + value * x.stride_v];
  };

  for (int row = part; row < K; row += parts) {
    state[row * columns + column] =
        inside && p.state_in.data != nullptr ? state_at(p.state_in, row) : 0.f;
  }
  for (std::int64_t step = 0; step < length; ++step) {
    const std::int64_t token = begin + (p.reverse ? length - 1 - step : step);
    __syncthreads();
    for (int i = threadIdx.x; i < K; i += kThreads) {
      q[i] = to_float(row_of<const T>(p.q, p, n, token, head)[i]);
      k[i] = to_float(row_of<const T>(p.k, p, n, token, head)[i]);
    }
    __syncthreads();
    const float v =
        inside ? p.value_scale * to_float(row_of<const T>(p.v, p, n, token, head)[value]) : 0.f;
    const float factor = step == 0 && p.undecayed ? 1.f : decay;
    float sum = 0.f;
    for (int row = part; row < K; row += parts) {
      float& s = state[row * columns + column];
      s = fmaf(k[row], v, factor * s);
      sum = fmaf(q[row], s, sum);
    }
    sums[part * columns + column] = sum;
    __syncthreads();
    if (part == 0 && inside && p.o.data != nullptr) {
      for (int i = 1; i < parts; ++i) sum += sums[i * columns + column];
      from_float(p.out_scale * sum, row_of<T>(p.o, p, n, token, head)[value]);
    }
  }
  if (p.state_out.data == nullptr || !inside) return;
  // An empty sequence hands its state through: nothing entered, nothing decays.
  const bool through = length == 0 && p.undecayed;
  const float factor = p.decay_out && !through ? decay : 1.f;
  for (int row = part; row < K; row += parts) {
    state_at(p.state_out, row) = factor * state[row * columns + column];
  }
}

template <class T>
Status launch(const GeneralParams& params, dim3 grid, cudaStream_t stream) {
  const std::size_t bytes = general_shared_bytes(params.key_dim, params.columns);
  TNL_TRY(cuda_status(
      cudaFuncSetAttribute(reinterpret_cast<const void*>(general_kernel<T>),
                           cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)),
      "preparing the general attention kernel"));
  general_kernel<T><<<grid, kThreads, bytes, stream>>>(params);
  return cuda_status(cudaGetLastError(), "launching the general attention kernel");
}

Operand operand(const AttentionOperand& x) {
  return {static_cast<char*>(x.data), x.stride_batch, x.stride_token, x.stride_head};
}

}  // namespace

Status run_general(const AttentionProblem& problem, std::span<const std::int64_t> slots,
                   cudaStream_t stream, const DeviceTables& tables) {
  GeneralParams params{};
  params.tables = tables;
  params.q = operand(problem.q);
  params.k = operand(problem.k);
  params.v = operand(problem.v);
  params.o = operand(problem.o);
  params.state_in = problem.state_in;
  params.state_out = problem.state_out;
  params.key_dim = problem.key_dim;
  params.value_dim = problem.value_dim;
  params.out_scale = static_cast<float>(problem.out_scale);
  params.value_scale = static_cast<float>(problem.value_scale);
  params.packed = !problem.cu_seqlens.empty();
  params.reverse = problem.reverse;
  params.undecayed = problem.state_enters_undecayed;
  params.decay_out = problem.decay_state_out;
  params.columns = general_columns(problem.key_dim);
  const auto blocks = (problem.value_dim + params.columns - 1) / params.columns;
  for (std::int64_t n = 0; n < problem.sequences; n += kMaxRows) {
    const std::int64_t sequences = std::min<std::int64_t>(kMaxRows, problem.sequences - n);
    params.first_sequence = n;
    for (std::int64_t i = 0; i < sequences; ++i) {
      params.begin[i] = problem.begin(n + i);
      params.length[i] = problem.length(n + i);
      params.slot[i] = slots.empty() ? n + i : slots[n + i];
    }
    for (std::int64_t h = 0; h < problem.heads; h += kMaxRows) {
      const std::int64_t heads = std::min<std::int64_t>(kMaxRows, problem.heads - h);
      params.first_head = static_cast<int>(h);
      for (std::int64_t i = 0; i < heads; ++i) {
        params.decay[i] = static_cast<float>(std::exp2(log2_decay(problem.log_decay[h + i])));
      }
      const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>(heads),
                      static_cast<unsigned>(sequences));
      switch (problem.dtype) {
        case DType::kBF16:
          TNL_TRY(launch<__nv_bfloat16>(params, grid, stream));
          break;
        case DType::kF16:
          TNL_TRY(launch<__half>(params, grid, stream));
          break;
        default:
          TNL_TRY(launch<float>(params, grid, stream));
      }
    }
  }
  return {};
}

}  // namespace tnl::cuda
