// SRMSNorm and the gate behind attention, with their gradients (docs/math.md).
#include "backend/cpu/simd/loops.h"
#include "backend/cpu/simd/row_functions.h"

namespace tnl::TNL_TARGET {
namespace {

TNL_INLINE float reciprocal_rms(const float* x, float eps, std::int64_t n) {
  Vec sum = {};
  for_vectors(n, [&](std::int64_t i, std::int64_t count) {
    const Vec v = load_up_to(x + i, count);
    sum += v * v;
  });
  return 1.0f / __builtin_sqrtf(reduce_add(sum) / static_cast<float>(n) + eps);
}

TNL_INLINE Vec gate_of(bool sigmoid_gate, Vec u) {
  return sigmoid_gate ? sigmoid(u) : u;
}

}  // namespace

void srmsnorm(const float* x, float eps, float* y, std::int64_t n) {
  const float r = reciprocal_rms(x, eps, n);
  for_vectors(n, [&](std::int64_t i, std::int64_t count) {
    store_up_to(y + i, load_up_to(x + i, count) * r, count);
  });
}

void srmsnorm_backward(const float* x, const float* dy, float eps, bool accumulate, float* dx,
                       std::int64_t n) {
  const float r = reciprocal_rms(x, eps, n);
  Vec dot = {};
  for_vectors(n, [&](std::int64_t i, std::int64_t count) {
    dot += load_up_to(x + i, count) * load_up_to(dy + i, count);
  });
  const float along = r * r * reduce_add(dot) / static_cast<float>(n);
  for_vectors(n, [&](std::int64_t i, std::int64_t count) {
    Vec value = r * (load_up_to(dy + i, count) - load_up_to(x + i, count) * along);
    if (accumulate) value += load_up_to(dx + i, count);
    store_up_to(dx + i, value, count);
  });
}

void norm_gate(bool sigmoid_gate, const float* o, const float* u, float eps, float* y,
               std::int64_t n) {
  const float r = reciprocal_rms(o, eps, n);
  for_vectors(n, [&](std::int64_t i, std::int64_t count) {
    const Vec gate = gate_of(sigmoid_gate, load_up_to(u + i, count));
    store_up_to(y + i, gate * (load_up_to(o + i, count) * r), count);
  });
}

void norm_gate_backward(bool sigmoid_gate, const float* o, const float* u, const float* dy,
                        float eps, float* d_o, float* d_u, std::int64_t n) {
  const float r = reciprocal_rms(o, eps, n);
  Vec dot = {};
  for_vectors(n, [&](std::int64_t i, std::int64_t count) {  // d_o holds the gradient of the norm
    const Vec gate = gate_of(sigmoid_gate, load_up_to(u + i, count));
    const Vec slope = sigmoid_gate ? gate * (1.0f - gate) : broadcast(1.0f);
    const Vec gradient = load_up_to(dy + i, count);
    const Vec value = load_up_to(o + i, count);
    const Vec d_normed = gradient * gate;
    dot += value * d_normed;
    store_up_to(d_u + i, gradient * (value * r) * slope, count);
    store_up_to(d_o + i, d_normed, count);
  });
  const float along = r * r * reduce_add(dot) / static_cast<float>(n);
  for_vectors(n, [&](std::int64_t i, std::int64_t count) {
    const Vec value = load_up_to(o + i, count);
    store_up_to(d_o + i, r * (load_up_to(d_o + i, count) - value * along), count);
  });
}

}  // namespace tnl::TNL_TARGET
