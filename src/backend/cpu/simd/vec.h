// One SIMD vocabulary for every CPU target. Files in this folder are compiled once for each target
// with TNL_TARGET set to its name (a namespace) and TNL_LANES to the floats of a vector. They must
// not instantiate templates or inline functions of the standard library: the linker may keep the
// copy built for the widest target and run it on a machine that lacks it (docs/decisions/0001).
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "core/float16.h"

#define TNL_INLINE static inline __attribute__((always_inline))

namespace tnl::TNL_TARGET {

inline constexpr int kLanes = TNL_LANES;
typedef float Vec __attribute__((vector_size(kLanes * 4)));
typedef std::int32_t VecI __attribute__((vector_size(kLanes * 4)));
typedef std::uint32_t VecU __attribute__((vector_size(kLanes * 4)));
typedef std::uint16_t VecHalf __attribute__((vector_size(kLanes * 2)));

// x - 0 is x for every x, -0 included, so the subtraction folds away; 0 + x would stay.
TNL_INLINE Vec broadcast(float x) {
  return x - Vec{};
}

TNL_INLINE Vec load(const float* p) {
  Vec v;
  __builtin_memcpy(&v, p, sizeof(v));
  return v;
}
TNL_INLINE void store(float* p, Vec v) {
  __builtin_memcpy(p, &v, sizeof(v));
}

TNL_INLINE Vec load(const BF16* p) {
  VecHalf half;
  __builtin_memcpy(&half, p, sizeof(half));
  return (Vec)(__builtin_convertvector(half, VecU) << 16);
}

// Rounds to nearest even; NaN stays NaN.
TNL_INLINE void store(BF16* p, Vec v) {
  const VecU bits = (VecU)v;
  const VecU rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const VecU nan = (VecU)((bits & 0x7fffffffu) > 0x7f800000u);
  const VecU word = (nan & ((bits >> 16) | 0x40u)) | (~nan & rounded);
  const VecHalf half = __builtin_convertvector(word, VecHalf);
  __builtin_memcpy(p, &half, sizeof(half));
}

TNL_INLINE Vec load(const F16* p) {
#if defined(__AVX512F__)
  return (Vec)_mm512_maskz_cvtph_ps(0xffff, _mm256_loadu_si256((const __m256i*)p));
#elif defined(__F16C__)
  return (Vec)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p));
#else
  float lanes[kLanes];
  for (int i = 0; i < kLanes; ++i) lanes[i] = to_float(p[i]);
  return load(lanes);
#endif
}

TNL_INLINE void store(F16* p, Vec v) {
#if defined(__AVX512F__)
  _mm256_storeu_si256((__m256i*)p,
                      _mm512_maskz_cvtps_ph(0xffff, (__m512)v, _MM_FROUND_TO_NEAREST_INT));
#elif defined(__F16C__)
  _mm_storeu_si128((__m128i*)p, _mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT));
#else
  float lanes[kLanes];
  store(lanes, v);
  for (int i = 0; i < kLanes; ++i) p[i] = to_f16(lanes[i]);
#endif
}

// The first n < kLanes elements, the rest zero; nothing past them is touched.
template <class T>
TNL_INLINE Vec load_part(const T* p, std::int64_t n) {
  T lanes[kLanes] = {};
  __builtin_memcpy(lanes, p, n * sizeof(T));
  return load(lanes);
}
template <class T>
TNL_INLINE void store_part(T* p, Vec v, std::int64_t n) {
  T lanes[kLanes];
  store(lanes, v);
  __builtin_memcpy(p, lanes, n * sizeof(T));
}

TNL_INLINE Vec select(VecI mask, Vec yes, Vec no) {
  return (Vec)((mask & (VecI)yes) | (~mask & (VecI)no));
}
TNL_INLINE Vec max(Vec a, Vec b) {
  return select(a > b, a, b);
}
TNL_INLINE Vec min(Vec a, Vec b) {
  return select(a < b, a, b);
}

// a * b + c in one rounding where the target has that. In a sum of two products the compiler would
// choose which of them is fused, and not the same one everywhere.
TNL_INLINE Vec multiply_add(Vec a, Vec b, Vec c) {
#if defined(__AVX512F__)
  return (Vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__)
  return (Vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
  return a * b + c;
#endif
}

TNL_INLINE Vec sqrt(Vec v) {
#if defined(__AVX512F__)
  return (Vec)_mm512_maskz_sqrt_ps(0xffff, (__m512)v);
#elif defined(__AVX2__)
  return (Vec)_mm256_sqrt_ps((__m256)v);
#else
  float lanes[kLanes];
  store(lanes, v);
  for (int i = 0; i < kLanes; ++i) lanes[i] = __builtin_sqrtf(lanes[i]);
  return load(lanes);
#endif
}

TNL_INLINE float reduce_add(Vec v) {
  float lanes[kLanes];
  store(lanes, v);
  for (int width = kLanes / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  }
  return lanes[0];
}
TNL_INLINE float reduce_max(Vec v) {
  float lanes[kLanes];
  store(lanes, v);
  float most = lanes[0];
  for (int i = 1; i < kLanes; ++i) most = lanes[i] > most ? lanes[i] : most;
  return most;
}

// e^x within 1.5 units in the last place for finite results; 0 below -87.3, infinity above 88.7,
// NaN stays. x = n ln2 + r with |r| <= ln2 / 2, a degree-7 polynomial for e^r, 2^n through the
// exponent.
TNL_INLINE Vec exp(Vec x) {
  const Vec clamped = min(max(x, broadcast(-87.33654f)), broadcast(88.72283f));
  const Vec shifted = clamped * 1.44269504f + 12582912.0f;  // 1.5 * 2^23 rounds to an integer
  const VecI n = (VecI)shifted - 0x4b400000;
  const Vec rounded = shifted - 12582912.0f;
  const Vec r = (clamped - rounded * 0.693359375f) + rounded * 2.12194440e-4f;
  Vec p = broadcast(1.9841270e-4f);
  p = p * r + 1.3888889e-3f;
  p = p * r + 8.3333333e-3f;
  p = p * r + 4.1666667e-2f;
  p = p * r + 1.6666667e-1f;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  // In two steps: n may be 128, whose power of two alone is infinite.
  const VecI half = n >> 1;
  const Vec low = (Vec)((half + 127) << 23);
  const Vec high = (Vec)((n - half + 127) << 23);
  Vec result = p * low * high;
  result = select(x < -87.33654f, Vec{}, result);
  result = select(x > 88.72283f, broadcast(__builtin_inff()), result);
  return select(x != x, x, result);
}

}  // namespace tnl::TNL_TARGET
