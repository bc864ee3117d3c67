// What the device programs share: inputs from a hash, the recurrence in fp64, comparison, timing.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "backend/attention_problem.h"
#include "backend/cuda/lightning/kernels.h"
#include "backend/cuda/plan.h"

namespace tnl::cuda::device_test {

#define CUDA_OK(call)                                                                       \
  do {                                                                                      \
    if (const cudaError_t error = (call); error != cudaSuccess) {                           \
      std::printf("%s:%d: %s: %s\n", __FILE__, __LINE__, #call, cudaGetErrorString(error)); \
      std::exit(3);                                                                         \
    }                                                                                       \
  } while (0)

// Device memory that frees itself, filled with NaN bits.
class Memory {
 public:
  Memory() = default;
  explicit Memory(std::size_t bytes) : bytes_(bytes) {
    CUDA_OK(cudaMalloc(&data_, std::max<std::size_t>(bytes, 256)));
    CUDA_OK(cudaMemset(data_, 0xff, std::max<std::size_t>(bytes, 256)));
  }
  Memory(Memory&& other) noexcept { *this = std::move(other); }
  Memory& operator=(Memory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~Memory() { cudaFree(data_); }
  void* get() const { return data_; }
  std::size_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};

enum class Fill { kNormal, kExactQ, kExactK, kExactV, kNan };

__device__ __forceinline__ std::uint32_t hash(std::uint32_t x) {
  x ^= x >> 16;
  x *= 0x7feb352du;
  x ^= x >> 15;
  x *= 0x846ca68bu;
  return x ^ (x >> 16);
}

__device__ inline int exact_key(std::int64_t t, int h, int d) {
  return static_cast<int>((t * 37 + h * 11) % d);
}

// The exact test: one-hot keys, queries that look for the key of a random age, small integers.
__device__ inline float value_at(Fill fill, std::uint32_t seed, std::int64_t n, std::int64_t t,
                                 int h, int c, int d) {
  const std::uint32_t a = hash(static_cast<std::uint32_t>(((n * 8191 + t) * 131 + h) * 1031 + c) +
                               seed * 0x9E3779B9u + static_cast<std::uint32_t>(t >> 20) * 77u);
  switch (fill) {
    case Fill::kNormal: {
      const std::uint32_t b = hash(a ^ 0x68bc21ebu);
      return sqrtf(-2.f * logf((a + 1.f) * 2.3283064e-10f)) * cospif(2.f * b * 2.3283064e-10f);
    }
    case Fill::kExactK:
      return c == exact_key(t, h, d) ? 1 + (hash(t * 131 + h) & 1) : 0;
    case Fill::kExactQ: {
      const int most = static_cast<int>(min(t, std::int64_t{min(d - 1, 100)}));
      const int age = hash(t * 977 + h * 7 + 5) % (most + 1);
      return c == exact_key(t - age, h, d) ? 1 + (hash(t + 3 * h) % 3) : 0;
    }
    case Fill::kExactV: {
      const int r = a % 5;
      return r < 3 ? r + 1 : 2 - r;
    }
    default:
      return __int_as_float(0x7fffffff);
  }
}

template <class T>
__global__ void fill_kernel(AttentionOperand x, Fill fill, std::uint32_t seed, std::int64_t n,
                            std::int64_t begin, std::int64_t tokens, int heads, int columns) {
  const std::int64_t count = tokens * heads * columns;
  for (std::int64_t i = blockIdx.x * std::int64_t{blockDim.x} + threadIdx.x; i < count;
       i += std::int64_t{gridDim.x} * blockDim.x) {
    const int c = i % columns, h = (i / columns) % heads;
    const std::int64_t t = i / columns / heads;
    const float value = value_at(fill, seed, n, t, h, c, columns);
    static_cast<T*>(
        x.data)[n * x.stride_batch + (begin + t) * x.stride_token + h * x.stride_head + c] =
        static_cast<T>(value);
  }
}

// A block: one sequence, head and 16 columns of V; S in shared memory in fp64.
template <class T>
__global__ void reference_kernel(AttentionProblem p, const double* decay, std::int64_t n,
                                 std::int64_t begin, std::int64_t length, double* o,
                                 double* state_out) {
  extern __shared__ double shared[];
  const int K = p.key_dim, column = threadIdx.x % 16, part = threadIdx.x / 16, parts = 16;
  double* S = shared;         // [K, 16]
  double* sums = S + 16 * K;  // [16, 16]
  double *q = sums + 256, *k = q + K;
  const int h = blockIdx.x, v = blockIdx.y * 16 + column;
  const bool inside = v < p.value_dim;
  const auto row = [&](const AttentionOperand& x, std::int64_t t) {
    return static_cast<const T*>(x.data) + n * x.stride_batch + (begin + t) * x.stride_token +
           h * x.stride_head;
  };
  for (int i = part; i < K; i += parts) {
    const AttentionStateOperand& s = p.state_in;
    S[i * 16 + column] =
        inside && s.data
            ? static_cast<const float*>(s.data)[n * s.stride_sequence + h * s.stride_head +
                                                i * s.stride_k + v * s.stride_v]
            : 0.0;
  }
  for (std::int64_t step = 0; step < length; ++step) {
    const std::int64_t t = p.reverse ? length - 1 - step : step;
    __syncthreads();
    for (int i = threadIdx.x; i < K; i += blockDim.x) {
      q[i] = static_cast<float>(row(p.q, t)[i]);
      k[i] = static_cast<float>(row(p.k, t)[i]);
    }
    __syncthreads();
    const double x = inside ? p.value_scale * static_cast<float>(row(p.v, t)[v]) : 0;
    const double a = step == 0 && p.state_enters_undecayed ? 1 : decay[h];
    double sum = 0;
    for (int i = part; i < K; i += parts) {
      double& s = S[i * 16 + column];
      s = a * s + k[i] * x;
      sum += q[i] * s;
    }
    sums[part * 16 + column] = sum;
    __syncthreads();
    if (part == 0 && inside) {
      sum = 0;
      for (int i = 0; i < parts; ++i) sum += sums[i * 16 + column];
      o[((begin + t) * p.heads + h) * p.value_dim + v] = p.out_scale * sum;
    }
  }
  if (!inside) return;
  const double a = p.decay_state_out && !(length == 0 && p.state_enters_undecayed) ? decay[h] : 1;
  for (int i = part; i < K; i += parts) {
    state_out[(std::int64_t{h} * K + i) * p.value_dim + v] = a * S[i * 16 + column];
  }
}

struct Sums {
  double error, norm, mismatches, rounded;
};

template <class T>
__device__ void compare_one(T x, double y, Sums& s) {
  const double value = static_cast<float>(x), error = value - y;
  const T nearest = static_cast<T>(static_cast<float>(y));
  s.error += error * error;
  s.norm += y * y;
  const double rounding = static_cast<double>(static_cast<float>(nearest)) - y;
  s.rounded += rounding * rounding;
  const bool same = (fabs(value) < 1e-30 && fabs(y) < 1e-30) ||
                    static_cast<float>(x) == static_cast<float>(nearest);
  if (!same) s.mismatches += 1;
}

__device__ inline void add_sums(const Sums& s, Sums* total) {
  atomicAdd(&total->error, s.error);
  atomicAdd(&total->norm, s.norm);
  atomicAdd(&total->mismatches, s.mismatches);
  atomicAdd(&total->rounded, s.rounded);
}

template <class T>
__global__ void compare_output(AttentionProblem p, std::int64_t n, std::int64_t begin,
                               std::int64_t length, const double* o, Sums* total) {
  Sums s{};
  const std::int64_t V = p.value_dim, count = length * p.heads * V;
  for (std::int64_t i = blockIdx.x * std::int64_t{blockDim.x} + threadIdx.x; i < count;
       i += std::int64_t{gridDim.x} * blockDim.x) {
    const std::int64_t v = i % V, h = (i / V) % p.heads, t = begin + i / V / p.heads;
    compare_one(
        static_cast<const T*>(
            p.o.data)[n * p.o.stride_batch + t * p.o.stride_token + h * p.o.stride_head + v],
        o[(t * p.heads + h) * V + v], s);
  }
  add_sums(s, total);
}

static __global__ void compare_state(AttentionProblem p, std::int64_t n, const double* state,
                                     Sums* total) {
  Sums s{};
  const AttentionStateOperand& x = p.state_out;
  const std::int64_t V = p.value_dim, K = p.key_dim, count = p.heads * K * V;
  for (std::int64_t i = blockIdx.x * std::int64_t{blockDim.x} + threadIdx.x; i < count;
       i += std::int64_t{gridDim.x} * blockDim.x) {
    const std::int64_t v = i % V, k = (i / V) % K, h = i / V / K;
    compare_one(
        static_cast<const float*>(
            x.data)[n * x.stride_sequence + h * x.stride_head + k * x.stride_k + v * x.stride_v],
        state[i], s);
  }
  add_sums(s, total);
}

template <class Body>
void with_type(DType dtype, Body body) {
  if (dtype == DType::kBF16) return body(__nv_bfloat16{});
  if (dtype == DType::kF16) return body(__half{});
  body(float{});
}

inline void fill(const AttentionProblem& p, const AttentionOperand& x, int columns, Fill kind,
                 std::uint32_t seed, std::int64_t n) {
  with_type(p.dtype, [&](auto element) {
    fill_kernel<decltype(element)><<<528, 256>>>(x, kind, seed, n, p.begin(n), p.length(n),
                                                 static_cast<int>(p.heads), columns);
  });
  CUDA_OK(cudaGetLastError());
}

// Runs the recurrence in fp64 and compares o and state_out, sequence by sequence; `skip` is left
// out.
inline void compare(const AttentionProblem& p, std::int64_t skip, Sums& output, Sums& state) {
  std::vector<double> decay(p.heads);
  for (std::int64_t h = 0; h < p.heads; ++h) {
    const double x = p.log_decay[h];
    // The fp32 nearest to log 1/2 stands for exactly 1/2: the kernels round log2 λ to -1.
    decay[h] = x == static_cast<double>(static_cast<float>(-std::log(2.0))) ? 0.5 : std::exp(x);
  }
  Memory decay_memory(p.heads * 8), sums(2 * sizeof(Sums)),
      states(p.heads * p.key_dim * p.value_dim * 8);
  CUDA_OK(cudaMemcpy(decay_memory.get(), decay.data(), p.heads * 8, cudaMemcpyHostToDevice));
  CUDA_OK(cudaMemset(sums.get(), 0, 2 * sizeof(Sums)));
  std::int64_t rows = p.tokens;
  if (!p.cu_seqlens.empty()) rows = p.cu_seqlens[p.sequences];
  Memory o(rows * p.heads * p.value_dim * 8);
  auto* total = static_cast<Sums*>(sums.get());
  with_type(p.dtype, [&](auto element) {
    using T = decltype(element);
    const std::size_t bytes = 8 * (18 * p.key_dim + 256);
    CUDA_OK(cudaFuncSetAttribute(reference_kernel<T>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 static_cast<int>(bytes)));
    for (std::int64_t n = 0; n < p.sequences; ++n) {
      if (n == skip) continue;
      const dim3 grid(p.heads, (p.value_dim + 15) / 16);
      reference_kernel<T><<<grid, 256, bytes>>>(
          p, static_cast<double*>(decay_memory.get()), n, p.begin(n), p.length(n),
          static_cast<double*>(o.get()), static_cast<double*>(states.get()));
      compare_output<T>
          <<<132, 256>>>(p, n, p.begin(n), p.length(n), static_cast<double*>(o.get()), total);
      if (p.state_out.data != nullptr) {
        compare_state<<<132, 256>>>(p, n, static_cast<double*>(states.get()), total + 1);
      }
    }
  });
  CUDA_OK(cudaGetLastError());
  Sums host[2];
  CUDA_OK(cudaMemcpy(host, sums.get(), sizeof(host), cudaMemcpyDeviceToHost));
  output = host[0];
  state = host[1];
}

inline std::vector<float> alibi_log_decay(int heads, double factor) {
  std::vector<float> x(heads);
  for (int h = 0; h < heads; ++h) {
    x[h] = static_cast<float>(-std::exp2(-8.0 * (h + 1) / heads) * factor);
  }
  return x;
}

}  // namespace tnl::cuda::device_test
