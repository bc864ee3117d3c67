#include "backend/cpu/peaks.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <numeric>
#include <thread>
#include <vector>

#include "backend/cpu/attention.h"
#include "backend/cpu/simd/attention.h"
#include "core/buffer.h"
#include "core/check.h"
#include "core/try.h"

namespace tnl::cpu {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

double multiply_add_peak(const std::string& target, ThreadPool& pool) {
  constexpr int kWindows = 200;
  const AttentionKernels* kernels = find_attention_kernels(target);
  TNL_CHECK(kernels != nullptr);
  const int threads = pool.threads();
  std::vector<double> rates(threads);
  // Each thread's best window of half a millisecond: what its core can do, not what else the
  // machine was at.
  pool.run(threads, [&](std::int64_t task, int) {
    for (int window = 0; window < kWindows; ++window) {
      float sink = 0.999f;
      const auto start = Clock::now();
      const double flops = kernels->multiply_adds(150, &sink);
      const double seconds = seconds_since(start);
      if (sink > 0) rates[task] = std::max(rates[task], flops / seconds);  // always; see `sink`
    }
  });
  const double total = std::accumulate(rates.begin(), rates.end(), 0.0);
  // Threads beyond the cores take turns.
  const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  return total * std::min(1.0, static_cast<double>(cores) / threads);
}

Result<double> read_bandwidth(const std::string& target, ThreadPool& pool) {
  constexpr std::int64_t kBytes = std::int64_t{512} << 20;
  constexpr std::int64_t kPiece = std::int64_t{1} << 20;
  constexpr int kPasses = 8;
  const AttentionKernels* kernels = find_attention_kernels(target);
  TNL_CHECK(kernels != nullptr);
  TNL_ASSIGN(const Buffer memory, Buffer::allocate(kBytes, "the measurement of bandwidth"));
  const char* data = static_cast<const char*>(memory.data());
  std::atomic<std::uint32_t> sink{0};
  double best = 0;
  for (int pass = 0; pass < kPasses; ++pass) {
    const auto start = Clock::now();
    pool.split(kBytes / kPiece, 1, [&](std::int64_t begin, std::int64_t end, int) {
      sink ^= kernels->read_memory(data + begin * kPiece, (end - begin) * kPiece);
    });
    best = std::max(best, static_cast<double>(kBytes) / seconds_since(start));
  }
  return best;
}

}  // namespace tnl::cpu
