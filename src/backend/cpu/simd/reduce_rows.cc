// Row kernels that sum: softmax parts, dot products with stored weights, AdamW and its norm.
#include "backend/cpu/simd/loops.h"
#include "backend/cpu/simd/row_functions.h"

namespace tnl::TNL_TARGET {
namespace {

typedef double VecD __attribute__((vector_size(kLanes * 8)));

TNL_INLINE VecD wide(Vec v) {
  return __builtin_convertvector(v, VecD);
}

TNL_INLINE double reduce_add(VecD v) {
  double lanes[kLanes];
  __builtin_memcpy(lanes, &v, sizeof(v));
  for (int width = kLanes / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  }
  return lanes[0];
}

// kRows rows of x with one row of w, two accumulators each to hide the latency of the additions.
template <int kRows, class T>
TNL_INLINE void dot_rows(const float* x, std::int64_t x_stride, const T* w, std::int64_t n,
                         float* out) {
  Vec sums[kRows][2] = {};
  std::int64_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    const Vec w0 = load(w + i);
    const Vec w1 = load(w + i + kLanes);
    for (int r = 0; r < kRows; ++r) {
      sums[r][0] += load(x + r * x_stride + i) * w0;
      sums[r][1] += load(x + r * x_stride + i + kLanes) * w1;
    }
  }
  for (; i < n; i += kLanes) {
    const std::int64_t count = n - i < kLanes ? n - i : kLanes;
    const Vec weight = load_up_to(w + i, count);
    for (int r = 0; r < kRows; ++r) sums[r][0] += load_up_to(x + r * x_stride + i, count) * weight;
  }
  for (int r = 0; r < kRows; ++r) out[r] = TNL_TARGET::reduce_add(sums[r][0] + sums[r][1]);
}

template <class T>
TNL_INLINE void dot_any(const float* x, std::int64_t x_stride, std::int64_t rows, const T* w,
                        std::int64_t n, float* out) {
  switch (rows) {
    case 1:
      return dot_rows<1>(x, x_stride, w, n, out);
    case 2:
      return dot_rows<2>(x, x_stride, w, n, out);
    case 3:
      return dot_rows<3>(x, x_stride, w, n, out);
    default:
      return dot_rows<4>(x, x_stride, w, n, out);
  }
}

}  // namespace

float most(const float* x, std::int64_t n) {
  Vec best = broadcast(x[0]);
  for_vectors(n, [&](std::int64_t i, std::int64_t count) {
    // A tail is covered by the last full vector of the row, or by single elements.
    if (count == kLanes) {
      best = max(load(x + i), best);
    } else {
      for (std::int64_t j = i; j < n; ++j) best = max(broadcast(x[j]), best);
    }
  });
  return reduce_max(best);
}

double sum_exp(const float* x, float most, std::int64_t n) {
  VecD sum = {};
  double tail = 0;
  for_vectors(n, [&](std::int64_t i, std::int64_t count) {
    const Vec e = exp(load_up_to(x + i, count) - most);
    if (count == kLanes) {
      sum += wide(e);
    } else {
      float lanes[kLanes];
      store(lanes, e);
      for (std::int64_t j = 0; j < count; ++j) tail += lanes[j];
    }
  });
  return reduce_add(sum) + tail;
}

void softmax(float* x, float log_sum, float scale, std::int64_t n) {
  for_vectors(n, [&](std::int64_t i, std::int64_t count) {
    store_up_to(x + i, scale * exp(load_up_to(x + i, count) - log_sum), count);
  });
}

void dot(const float* x, std::int64_t x_stride, std::int64_t rows, const void* w, DType dtype,
         std::int64_t n, float* out) {
  switch (dtype) {
    case DType::kBF16:
      return dot_any(x, x_stride, rows, static_cast<const BF16*>(w), n, out);
    case DType::kF16:
      return dot_any(x, x_stride, rows, static_cast<const F16*>(w), n, out);
    default:
      return dot_any(x, x_stride, rows, static_cast<const float*>(w), n, out);
  }
}

double sum_of_squares(const float* x, std::int64_t n) {
  VecD sum = {};
  for_vectors(n, [&](std::int64_t i, std::int64_t count) {
    const VecD v = wide(load_up_to(x + i, count));
    sum += v * v;
  });
  return reduce_add(sum);
}

void adamw(float* parameter, const float* gradient, float* first, float* second, std::int64_t n,
           const cpu::AdamWBlock& block) {
  const float keep = 1.0f - block.learning_rate * block.weight_decay;
  for_vectors(n, [&](std::int64_t i, std::int64_t count) {
    const Vec g = load_up_to(gradient + i, count) * block.gradient_scale;
    const Vec m = load_up_to(first + i, count) * block.beta1 + g * (1.0f - block.beta1);
    const Vec v = load_up_to(second + i, count) * block.beta2 + g * g * (1.0f - block.beta2);
    store_up_to(first + i, m, count);
    store_up_to(second + i, v, count);
    const Vec scaled = v * block.correction2;
    Vec root;
    for (int lane = 0; lane < kLanes; ++lane) root[lane] = __builtin_sqrtf(scaled[lane]);
    const Vec update = m * block.correction1 / (root + block.epsilon);
    const Vec p = load_up_to(parameter + i, count);
    store_up_to(parameter + i, p * keep - update * block.learning_rate, count);
  });
}

}  // namespace tnl::TNL_TARGET
