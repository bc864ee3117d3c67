// AdamW and the sum of squares over flat fp32 arrays. Floors, bytes a parameter: 28 (30 with the
// bf16 copy), and 4.
#include <cmath>

#include "backend/cuda/lightning/kernels.h"
#include "backend/cuda/ops/ops.h"
#include "backend/cuda/ops/vector.cuh"

namespace tnl::cuda {
namespace {

struct AdamWStep {
  float gradient_scale, beta1, one_minus_beta1, beta2, one_minus_beta2;
  float step_size, inverse_second_bias, epsilon, keep;
};

struct AdamWArrays {
  float *parameters, *first, *second;
  const float* gradients;
  __nv_bfloat16* rounded;  // nullptr: none
  std::int64_t count;
};

constexpr int kThreads = 256;

template <int kCount>
__global__ void __launch_bounds__(kThreads) adamw_kernel(AdamWStep step, AdamWArrays x) {
  using Values = Vector<float, kCount>;
  const std::int64_t at = (static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kCount;
  if (at >= x.count) return;
  Values parameter = Values::load(x.parameters + at), first = Values::load(x.first + at);
  Values second = Values::load(x.second + at);
  const Values slope = Values::load(x.gradients + at);
  Vector<__nv_bfloat16, kCount> rounded;
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    const float gradient = slope[i] * step.gradient_scale;
    const float m = first[i] * step.beta1 + gradient * step.one_minus_beta1;
    const float v = second[i] * step.beta2 + gradient * gradient * step.one_minus_beta2;
    const float direction = m / (sqrtf(v * step.inverse_second_bias) + step.epsilon);
    const float value = parameter[i] * step.keep - direction * step.step_size;
    first.set(i, m);
    second.set(i, v);
    parameter.set(i, value);
    rounded.set(i, value);
  }
  first.store(x.first + at);
  second.store(x.second + at);
  parameter.store(x.parameters + at);
  if (x.rounded != nullptr) rounded.store(x.rounded + at);
}

template <int kCount>
Status launch_adamw(const AdamWStep& step, const AdamWArrays& x, cudaStream_t stream) {
  const std::int64_t blocks = (x.count / kCount + kThreads - 1) / kThreads;
  adamw_kernel<kCount><<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(step, x);
  return cuda_status(cudaGetLastError(), "adamw");
}

bool aligned(const void* pointer, std::uintptr_t bytes) {
  return reinterpret_cast<std::uintptr_t>(pointer) % bytes == 0;
}

constexpr std::int64_t kBlockValues = 1 << 16;  // of one partial sum, on any GPU

// The sum over a block of kThreads, for thread 0, in a fixed order.
__device__ double block_sum(double x) {
  __shared__ double partial[kThreads / 32];
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) {
    x += __shfl_xor_sync(0xffffffffu, x, distance);
  }
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = x;
  __syncthreads();
  double sum = 0;
  if (threadIdx.x == 0) {
    for (int warp = 0; warp < kThreads / 32; ++warp) sum += partial[warp];
  }
  return sum;
}

template <int kCount>
__global__ void __launch_bounds__(kThreads)
    squares_kernel(const float* values, std::int64_t count, double* partial) {
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * kBlockValues;
  const std::int64_t end = min(count, first + kBlockValues);
  double sums[4] = {};
#pragma unroll 4
  for (std::int64_t at = first + threadIdx.x * kCount; at < end; at += kThreads * kCount) {
    const auto in = Vector<float, kCount>::load(values + at);
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      sums[i % 4] = fma(static_cast<double>(in[i]), static_cast<double>(in[i]), sums[i % 4]);
    }
  }
  const double sum = block_sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(kThreads)
    total_kernel(const double* partial, std::int64_t count, double* sum) {
  double mine = 0;
  for (std::int64_t at = threadIdx.x; at < count; at += kThreads) mine += partial[at];
  const double all = block_sum(mine);
  if (threadIdx.x == 0) *sum = all;
}

std::int64_t partial_sums(std::int64_t count) {
  return (count + kBlockValues - 1) / kBlockValues;
}

}  // namespace

Status adamw(const AdamWArgs& args, cudaStream_t stream) {
  const auto count = static_cast<std::int64_t>(args.parameters.size());
  TNL_CHECK(args.gradients.size() == args.parameters.size() &&
            args.first_moment.size() == args.parameters.size() &&
            args.second_moment.size() == args.parameters.size() && args.step >= 1);
  if (count == 0) return {};
  const double step = static_cast<double>(args.step);
  const double first_bias = 1.0 - std::pow(double{args.beta1}, step);
  const double second_bias = 1.0 - std::pow(double{args.beta2}, step);
  const AdamWStep constants = {
      .gradient_scale = args.gradient_scale,
      .beta1 = args.beta1,
      .one_minus_beta1 = static_cast<float>(1.0 - double{args.beta1}),
      .beta2 = args.beta2,
      .one_minus_beta2 = static_cast<float>(1.0 - double{args.beta2}),
      .step_size = static_cast<float>(double{args.learning_rate} / first_bias),
      .inverse_second_bias = static_cast<float>(1.0 / second_bias),
      .epsilon = args.epsilon,
      .keep = static_cast<float>(1.0 - double{args.learning_rate} * args.weight_decay)};
  const AdamWArrays x = {.parameters = args.parameters.data(),
                         .first = args.first_moment.data(),
                         .second = args.second_moment.data(),
                         .gradients = args.gradients.data(),
                         .rounded = static_cast<__nv_bfloat16*>(args.rounded),
                         .count = count};
  const bool wide = count % 4 == 0 && aligned(x.parameters, 16) && aligned(x.first, 16) &&
                    aligned(x.second, 16) && aligned(x.gradients, 16) && aligned(x.rounded, 8);
  return wide ? launch_adamw<4>(constants, x, stream) : launch_adamw<1>(constants, x, stream);
}

std::size_t sum_of_squares_workspace(std::int64_t count) {
  return static_cast<std::size_t>(partial_sums(count)) * sizeof(double);
}

Status sum_of_squares(const float* values, std::int64_t count, double* sum, void* workspace,
                      cudaStream_t stream) {
  auto* partial = static_cast<double*>(workspace);
  const std::int64_t blocks = partial_sums(count);
  if (blocks > 0) {
    const auto kernel =
        count % 4 == 0 && aligned(values, 16) ? squares_kernel<4> : squares_kernel<1>;
    kernel<<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(values, count, partial);
  }
  total_kernel<<<1, kThreads, 0, stream>>>(partial, blocks, sum);
  return cuda_status(cudaGetLastError(), "sum_of_squares");
}

}  // namespace tnl::cuda
