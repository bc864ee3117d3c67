// Sigmoid and SiLU in fp32, without overflow for any input.
#pragma once

namespace tnl::cuda {

struct SigmoidPair {
  float value, complement;  // σ(x) and 1 - σ(x), each with its own digits
};

__device__ __forceinline__ SigmoidPair sigmoid(float x) {
  const float e = expf(-fabsf(x));
  const float large = __fdividef(1.f, 1.f + e), small = e * large;
  return x >= 0.f ? SigmoidPair{large, small} : SigmoidPair{small, large};
}

__device__ __forceinline__ float silu(float x) {
  return x * sigmoid(x).value;
}

__device__ __forceinline__ float silu_slope(float x) {
  const SigmoidPair gate = sigmoid(x);
  return gate.value * fmaf(x, gate.complement, 1.f);
}

}  // namespace tnl::cuda
