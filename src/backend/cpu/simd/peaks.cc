// What the machine can do, to hold kernels against: multiply-adds that never leave the registers,
// and reading memory that nothing is done with.
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

std::uint32_t read_memory(const void* data, std::int64_t bytes) {
  constexpr int kVectors = 4;
  constexpr std::int64_t kStep = kVectors * kLanes * 4;
  VecU seen[kVectors] = {};
  for (std::int64_t at = 0; at + kStep <= bytes; at += kStep) {
#pragma GCC unroll 4
    for (int x = 0; x < kVectors; ++x) {
      VecU next;
      __builtin_memcpy(&next, static_cast<const char*>(data) + at + x * kLanes * 4, sizeof(next));
      seen[x] ^= next;
    }
  }
  std::uint32_t folded = 0;
  for (int lane = 0; lane < kLanes; ++lane) {
    folded ^= (seen[0] ^ seen[1] ^ seen[2] ^ seen[3])[lane];
  }
  return folded;
}

}  // namespace tnl::TNL_TARGET
