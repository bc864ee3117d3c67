// The machine's fp32 peak, to hold kernels against: independent chains of multiply-adds that never
// leave the registers.
#include "backend/cpu/simd/attention.h"
#include "backend/cpu/simd/vec.h"

namespace tnl::TNL_TARGET {

double multiply_adds(std::int64_t repeats, float* sink) {
  // Enough chains to cover two units of latency 4 to 5, few enough for 16 registers.
  constexpr int kChains = 12;
  constexpr int kInner = 1000;
  Vec chain[kChains];
#pragma GCC unroll 16
  for (int c = 0; c < kChains; ++c) chain[c] = broadcast(static_cast<float>(c));
  const Vec factor = broadcast(*sink);
  const Vec addend = broadcast(1.0f - *sink);
  for (std::int64_t i = 0; i < repeats * kInner; ++i) {
#pragma GCC unroll 16
    for (int c = 0; c < kChains; ++c) chain[c] = chain[c] * factor + addend;
  }
  Vec sum{};
#pragma GCC unroll 16
  for (int c = 0; c < kChains; ++c) sum += chain[c];
  *sink = reduce_add(sum);
  return 2.0 * kLanes * kChains * kInner * static_cast<double>(repeats);
}

}  // namespace tnl::TNL_TARGET
