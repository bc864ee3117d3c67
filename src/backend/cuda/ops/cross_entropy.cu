// Softmax cross entropy of rows of logits, in place. A block owns a row: one pass for maximum and
// sum, one for the gradient, which finds the row in the L2 cache. Floor in bf16: 4 bytes a logit.
#include "backend/cuda/ops/ops.h"
#include "backend/cuda/ops/row.cuh"

namespace tnl::cuda {
namespace {

constexpr int kThreads = 512;

// max and Σ exp(x - max) of a part of a row; the order of merging is fixed.
struct Softmax {
  float most = -INFINITY, sum = 0.f;

  __device__ __forceinline__ void merge(const Softmax& other) {
    const float larger = fmaxf(most, other.most);
    if (larger == -INFINITY) return;
    sum = sum * expf(most - larger) + other.sum * expf(other.most - larger);
    most = larger;
  }
  template <class Values>
  __device__ __forceinline__ void add(const Values& values, int count) {
    float part = most;
#pragma unroll
    for (int i = 0; i < count; ++i) part = fmaxf(part, values[i]);
    if (part == -INFINITY) return;
    if (part > most) {
      sum *= expf(most - part);
      most = part;
    }
#pragma unroll
    for (int i = 0; i < count; ++i) sum += expf(values[i] - most);
  }
};

__device__ Softmax block_softmax(Softmax mine) {
  __shared__ Softmax partial[kThreads / 32];
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) {
    Softmax other;
    other.most = __shfl_xor_sync(0xffffffffu, mine.most, distance);
    other.sum = __shfl_xor_sync(0xffffffffu, mine.sum, distance);
    // The lower lane's part first, so that both lanes get the same bits.
    if (threadIdx.x & distance) {
      other.merge(mine);
      mine = other;
    } else {
      mine.merge(other);
    }
  }
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = mine;
  __syncthreads();
  Softmax all = partial[0];
#pragma unroll
  for (int warp = 1; warp < kThreads / 32; ++warp) all.merge(partial[warp]);
  return all;
}

// The target stands apart from the sum of the others, so that a loss near 0 keeps its digits.
template <class T, int kCount>
__global__ void __launch_bounds__(kThreads)
    cross_entropy_kernel(View<T> logits, const std::int32_t* targets, std::int64_t cols,
                         const double* d_scale, double* losses) {
  using Values = Vector<T, kCount>;
  T* row = logits.row(blockIdx.x);
  const std::int32_t target = targets[blockIdx.x];
  if (target < 0) {
    if (threadIdx.x == 0) losses[blockIdx.x] = 0;
    if (d_scale == nullptr) return;
    for (std::int64_t c = threadIdx.x * kCount; c < cols; c += kThreads * kCount) {
      Values::zero().store(row + c);
    }
    return;
  }
  const float chosen = to_float(row[target]);
  Softmax others;
  for (std::int64_t c = threadIdx.x * kCount; c < cols; c += kThreads * kCount) {
    const Values in = Values::load(row + c);
    float values[kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i) values[i] = c + i == target ? -INFINITY : in[i];
    others.add(values, kCount);
  }
  others = block_softmax(others);  // every thread has read the target before it is overwritten
  const float most = fmaxf(others.most, chosen);
  const float rest = others.sum * expf(others.most - most);
  const float distance = most - chosen;
  const float own = expf(-distance);
  if (threadIdx.x == 0) {
    losses[blockIdx.x] = distance == 0.f ? log1p(static_cast<double>(rest))
                                         : log(static_cast<double>(rest) + own) + distance;
  }
  if (d_scale == nullptr) return;
  const float scale = static_cast<float>(*d_scale);
  const float total = rest + own;
  const float factor = scale / total;
  const float own_gradient = -scale * (rest / total);
  for (std::int64_t c = threadIdx.x * kCount; c < cols; c += kThreads * kCount) {
    Values values = Values::load(row + c);
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      values.set(i, c + i == target ? own_gradient : expf(values[i] - most) * factor);
    }
    values.store(row + c);
  }
}

}  // namespace

Status cross_entropy(const Matrix& logits, const std::int32_t* targets, const double* d_scale,
                     double* losses, cudaStream_t stream) {
  if (logits.rows == 0) return {};
  return with_activation_type(logits.dtype, [&](auto type) {
    using T = decltype(type);
    const auto kernel = has_vectors(logits, kVector<T>) ? cross_entropy_kernel<T, kVector<T>>
                                                        : cross_entropy_kernel<T, 1>;
    kernel<<<static_cast<unsigned>(logits.rows), kThreads, 0, stream>>>(
        view<T>(logits), targets, logits.cols, d_scale, losses);
    return cuda_status(cudaGetLastError(), "cross_entropy");
  });
}

}  // namespace tnl::cuda
