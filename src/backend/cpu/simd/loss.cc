// Softmax of one row of logits: its cross entropy, its weights.
#include "backend/cpu/simd/kernel_functions.h"
#include "backend/cpu/simd/sweep.h"

namespace tnl::TNL_TARGET {
namespace {

TNL_INLINE float row_max(const float* x, std::int64_t n) {
  Vec most = broadcast(-__builtin_inff());
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) most = max(load(x + i), most);
  float result = reduce_max(most);
  for (; i < n; ++i) result = x[i] > result ? x[i] : result;
  return result;
}

// The sum of e^((x - most) scale), which y gets where it is kept; y may be x. fp32 inside a block,
// fp64 between blocks: a vocabulary of any size keeps fp32 accuracy.
template <bool kKeep>
TNL_INLINE double exp_sum(const float* x, std::int64_t n, float most, float scale, float* y) {
  constexpr std::int64_t kBlock = 2048;
  double total = 0;
  for (std::int64_t first = 0; first < n; first += kBlock) {
    const float* block = x + first;
    const std::int64_t count = n - first < kBlock ? n - first : kBlock;
    Vec sums[2] = {};
    std::int64_t i = 0;
    for (; i + 2 * kLanes <= count; i += 2 * kLanes) {
#pragma GCC unroll 2
      for (int part = 0; part < 2; ++part) {
        const Vec value = exp((load(block + i + part * kLanes) - most) * scale);
        if (kKeep) store(y + first + i + part * kLanes, value);
        sums[part] += value;
      }
    }
    float tail = 0;
    for (; i < count; i += kLanes) {
      const std::int64_t left = count - i < kLanes ? count - i : kLanes;
      float lanes[kLanes];
      const Vec some = left < kLanes ? load_part(block + i, left) : load(block + i);
      store(lanes, exp((some - most) * scale));
      for (std::int64_t lane = 0; lane < left; ++lane) {
        if (kKeep) y[first + i + lane] = lanes[lane];
        tail += lanes[lane];
      }
    }
    total += static_cast<double>(reduce_add(sums[0] + sums[1]) + tail);
  }
  return total;
}

}  // namespace

// The target stands apart from the sum of the others, so that a loss near 0 keeps its digits.
double cross_entropy(float* x, std::int64_t n, std::int64_t target, const double* d_scale) {
  const float most = row_max(x, n);
  const float chosen = x[target];
  const double distance = static_cast<double>(most) - static_cast<double>(chosen);
  const double own = __builtin_exp(-distance);
  x[target] = -__builtin_inff();
  const double others =
      d_scale == nullptr ? exp_sum<false>(x, n, most, 1.0f, x) : exp_sum<true>(x, n, most, 1.0f, x);
  const double total = others + own;
  if (d_scale == nullptr) {
    x[target] = chosen;
  } else {
    const float factor = static_cast<float>(*d_scale / total);
    sweep(n, [&](std::int64_t i, auto lanes) { lanes.store(x + i, lanes.load(x + i) * factor); });
    x[target] = static_cast<float>(-*d_scale * (others / total));
  }
  return distance == 0 ? __builtin_log1p(others) : __builtin_log(total) + distance;
}

double softmax_weights(const float* x, std::int64_t n, float top, float scale, float* y) {
  return exp_sum<true>(x, n, top, scale, y);
}

}  // namespace tnl::TNL_TARGET
