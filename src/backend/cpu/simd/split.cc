// SiLU, and LRPE: [x cos(θ p) | x sin(θ p)] with the phase in fp64.
#include "backend/cpu/simd/kernel_functions.h"
#include "backend/cpu/simd/sweep.h"

namespace tnl::TNL_TARGET {
namespace {

constexpr int kHalf = kLanes / 2;
typedef float VecHalfF __attribute__((vector_size(kHalf * 4)));
typedef double VecD __attribute__((vector_size(kHalf * 8)));
typedef std::int64_t VecL __attribute__((vector_size(kHalf * 8)));
typedef std::int32_t VecHalfI __attribute__((vector_size(kHalf * 4)));

struct SineCosine {
  Vec sine, cosine;
};

TNL_INLINE Vec silu_of(Vec x) {
  return x * sigmoid(x);
}
TNL_INLINE Vec silu_slope(Vec x) {
  const SigmoidPair gate = sigmoid_pair(x);
  return gate.value * (1.0f + x * gate.complement);
}

// |r| <= π/4: Taylor, whose first term left out is below 2e-9.
TNL_INLINE SineCosine sine_cosine_reduced(Vec r) {
  const Vec s = r * r;
  Vec sine = broadcast(2.7557319e-6f);
  sine = sine * s - 1.9841270e-4f;
  sine = sine * s + 8.3333333e-3f;
  sine = sine * s - 1.6666667e-1f;
  sine = sine * (s * r) + r;
  Vec cosine = broadcast(-2.7557319e-7f);
  cosine = cosine * s + 2.4801587e-5f;
  cosine = cosine * s - 1.3888889e-3f;
  cosine = cosine * s + 4.1666667e-2f;
  cosine = cosine * s - 0.5f;
  cosine = cosine * s + 1.0f;
  return {sine, cosine};
}

// phase = n π/2 + r with |r| <= π/4. π/2 in two parts, so that n times the first is exact up to
// phases of about 10^9; the phase itself is rounded at 2^-53 of its size.
TNL_INLINE void reduce_phase(const float* theta, double position, float* r, std::int32_t* n) {
  VecHalfF narrow;
  __builtin_memcpy(&narrow, theta, sizeof(narrow));
  const VecD phase = __builtin_convertvector(narrow, VecD) * position;
  const VecD shifted = phase * 0.63661977236758134308 + 6755399441055744.0;  // 1.5 * 2^52
  const VecD turns = shifted - 6755399441055744.0;
  const VecD rest = (phase - turns * 1.57079632673412561417) - turns * 6.07710050650619224932e-11;
  const VecHalfF result = __builtin_convertvector(rest, VecHalfF);
  const VecHalfI quarter = __builtin_convertvector((VecL)shifted & 3, VecHalfI);
  __builtin_memcpy(r, &result, sizeof(result));
  __builtin_memcpy(n, &quarter, sizeof(quarter));
}

TNL_INLINE SineCosine sine_cosine(Vec theta, double position) {
  float frequencies[kLanes], rests[kLanes];
  std::int32_t quarters[kLanes];
  store(frequencies, theta);
  reduce_phase(frequencies, position, rests, quarters);
  reduce_phase(frequencies + kHalf, position, rests + kHalf, quarters + kHalf);
  const SineCosine reduced = sine_cosine_reduced(load(rests));
  VecI n;
  __builtin_memcpy(&n, quarters, sizeof(n));
  const VecI swap = (n & 1) != 0;
  const Vec sine = select(swap, reduced.cosine, reduced.sine);
  const Vec cosine = select(swap, reduced.sine, reduced.cosine);
  return {select((n & 2) != 0, -sine, sine), select(((n + 1) & 2) != 0, -cosine, cosine)};
}

template <bool kSilu>
TNL_INLINE void lrpe_rows(const LrpeRows& rows) {
  for (std::int64_t h = 0; h < rows.heads; ++h) {
    const std::int64_t from = h * rows.head_dim;
    const std::int64_t to = 2 * from;
    sweep(rows.head_dim, [&](std::int64_t i, auto lanes) {
      const SineCosine wave = sine_cosine(lanes.load(rows.theta + from + i), rows.position);
      const auto rotate = [&](const float* y, float* out) {
        const Vec input = lanes.load(y + from + i);
        const Vec x = kSilu ? silu_of(input) : input;
        lanes.store(out + to + i, x * wave.cosine);
        lanes.store(out + to + rows.head_dim + i, x * wave.sine);
      };
      rotate(rows.y_q, rows.q);
      rotate(rows.y_k, rows.k);
    });
  }
}

template <bool kSilu>
TNL_INLINE void lrpe_backward_rows(const LrpeRows& rows, float* dy_q, float* dy_k, float* d_theta) {
  const float position = static_cast<float>(rows.position);
  for (std::int64_t h = 0; h < rows.heads; ++h) {
    const std::int64_t from = h * rows.head_dim;
    const std::int64_t to = 2 * from;
    sweep(rows.head_dim, [&](std::int64_t i, auto lanes) {
      const SineCosine wave = sine_cosine(lanes.load(rows.theta + from + i), rows.position);
      const auto rotate_back = [&](const float* y, const float* d_out, float* dy) {
        const Vec input = lanes.load(y + from + i);
        const Vec d_cosine = lanes.load(d_out + to + i);
        const Vec d_sine = lanes.load(d_out + to + rows.head_dim + i);
        const Vec dx = d_cosine * wave.cosine + d_sine * wave.sine;
        lanes.store(dy + from + i, kSilu ? dx * silu_slope(input) : dx);
        return (kSilu ? silu_of(input) : input) * (d_sine * wave.cosine - d_cosine * wave.sine);
      };
      const Vec turn = rotate_back(rows.y_q, rows.q, dy_q) + rotate_back(rows.y_k, rows.k, dy_k);
      lanes.store(d_theta + from + i, lanes.load(d_theta + from + i) + turn * position);
    });
  }
}

}  // namespace

void silu(const float* x, std::int64_t n, float* y) {
  sweep(n, [&](std::int64_t i, auto lanes) { lanes.store(y + i, silu_of(lanes.load(x + i))); });
}

void silu_backward(const float* x, const float* dy, std::int64_t n, float* dx) {
  sweep(n, [&](std::int64_t i, auto lanes) {
    lanes.store(dx + i, lanes.load(dy + i) * silu_slope(lanes.load(x + i)));
  });
}

void lrpe(const LrpeRows& rows) {
  if (rows.silu) {
    lrpe_rows<true>(rows);
  } else {
    lrpe_rows<false>(rows);
  }
}

void lrpe_backward(const LrpeRows& rows, float* dy_q, float* dy_k, float* d_theta) {
  if (rows.silu) {
    lrpe_backward_rows<true>(rows, dy_q, dy_k, d_theta);
  } else {
    lrpe_backward_rows<false>(rows, dy_q, dy_k, d_theta);
  }
}

}  // namespace tnl::TNL_TARGET
