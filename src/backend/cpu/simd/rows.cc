// Elementwise row kernels, and the table of all of them.
#include "backend/cpu/simd/rows.h"

#include "backend/cpu/simd/loops.h"
#include "backend/cpu/simd/row_functions.h"

namespace tnl::TNL_TARGET {
namespace {

void product(const float* a, const float* b, float* y, std::int64_t n) {
  for_vectors(n, [&](std::int64_t i, std::int64_t count) {
    store_up_to(y + i, load_up_to(a + i, count) * load_up_to(b + i, count), count);
  });
}

void product_backward(const float* a, const float* b, const float* dy, float* da, float* db,
                      std::int64_t n) {
  for_vectors(n, [&](std::int64_t i, std::int64_t count) {
    const Vec gradient = load_up_to(dy + i, count);
    const Vec left = load_up_to(a + i, count);
    const Vec right = load_up_to(b + i, count);
    store_up_to(da + i, gradient * right, count);
    store_up_to(db + i, gradient * left, count);
  });
}

void silu(const float* x, float* y, std::int64_t n) {
  for_vectors(n, [&](std::int64_t i, std::int64_t count) {
    const Vec v = load_up_to(x + i, count);
    store_up_to(y + i, v * sigmoid(v), count);
  });
}

void silu_backward(const float* x, const float* dy, float* dx, std::int64_t n) {
  for_vectors(n, [&](std::int64_t i, std::int64_t count) {
    const Vec v = load_up_to(x + i, count);
    const Vec gate = sigmoid(v);
    const Vec slope = gate * (1.0f + v * (1.0f - gate));
    store_up_to(dx + i, load_up_to(dy + i, count) * slope, count);
  });
}

void rotate(const float* x, const float* cosine, const float* sine, float* y_cos, float* y_sin,
            std::int64_t n) {
  for_vectors(n, [&](std::int64_t i, std::int64_t count) {
    const Vec v = load_up_to(x + i, count);
    store_up_to(y_cos + i, v * load_up_to(cosine + i, count), count);
    store_up_to(y_sin + i, v * load_up_to(sine + i, count), count);
  });
}

void rotate_backward(const float* x, const float* cosine, const float* sine, const float* d_cos,
                     const float* d_sin, float* dx, float* d_phase, std::int64_t n) {
  for_vectors(n, [&](std::int64_t i, std::int64_t count) {
    const Vec c = load_up_to(cosine + i, count);
    const Vec s = load_up_to(sine + i, count);
    const Vec gradient_cos = load_up_to(d_cos + i, count);
    const Vec gradient_sin = load_up_to(d_sin + i, count);
    const Vec turned = load_up_to(x + i, count) * (gradient_sin * c - gradient_cos * s);
    store_up_to(dx + i, gradient_cos * c + gradient_sin * s, count);
    store_up_to(d_phase + i, load_up_to(d_phase + i, count) + turned, count);
  });
}

void add_scaled(const float* x, float scale, float* y, std::int64_t n) {
  for_vectors(n, [&](std::int64_t i, std::int64_t count) {
    store_up_to(y + i, load_up_to(y + i, count) + load_up_to(x + i, count) * scale, count);
  });
}

template <class T>
TNL_INLINE void widen_from(const T* x, float scale, float* y, std::int64_t n) {
  for_vectors(n, [&](std::int64_t i, std::int64_t count) {
    store_up_to(y + i, load_up_to(x + i, count) * scale, count);
  });
}

void widen(const void* x, DType dtype, float scale, float* y, std::int64_t n) {
  switch (dtype) {
    case DType::kBF16:
      return widen_from(static_cast<const BF16*>(x), scale, y, n);
    case DType::kF16:
      return widen_from(static_cast<const F16*>(x), scale, y, n);
    default:
      return widen_from(static_cast<const float*>(x), scale, y, n);
  }
}

}  // namespace

const cpu::RowKernels kRowKernels = {
    .srmsnorm = srmsnorm,
    .srmsnorm_backward = srmsnorm_backward,
    .norm_gate = norm_gate,
    .norm_gate_backward = norm_gate_backward,
    .product = product,
    .product_backward = product_backward,
    .silu = silu,
    .silu_backward = silu_backward,
    .rotate = rotate,
    .rotate_backward = rotate_backward,
    .add_scaled = add_scaled,
    .widen = widen,
    .most = most,
    .sum_exp = sum_exp,
    .softmax = softmax,
    .dot = dot,
    .adamw = adamw,
    .sum_of_squares = sum_of_squares,
};

}  // namespace tnl::TNL_TARGET
