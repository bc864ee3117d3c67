#include "core/thread_pool.h"

#include <algorithm>
#include <functional>

#include "core/check.h"

namespace tnl {
namespace {

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Returns the first value that is not `old`. Looks on for some ten microseconds, the time between
// two operations of a model, before it sleeps.
std::uint32_t wait_for_change(const std::atomic<std::uint32_t>& value, std::uint32_t old) {
  constexpr int kLooks = 500;
  for (int look = 0; look < kLooks; ++look) {
    const std::uint32_t now = value.load(std::memory_order_acquire);
    if (now != old) return now;
    pause();
  }
  value.wait(old, std::memory_order_acquire);
  return value.load(std::memory_order_acquire);
}

}  // namespace

ThreadPool::ThreadPool(int threads) {
  TNL_CHECK(threads >= 1);
  for (int worker = 1; worker < threads; ++worker) {
    workers_.emplace_back([this, worker] { work(worker); });
  }
}

ThreadPool::~ThreadPool() {
  stopping_.store(true, std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::run(std::int64_t tasks, const std::function<void(std::int64_t, int)>& body) {
  if (tasks <= 0) return;
  TNL_CHECK(!running_.exchange(true, std::memory_order_acquire));
  if (workers_.empty() || tasks == 1) {
    for (std::int64_t task = 0; task < tasks; ++task) body(task, 0);
  } else {
    body_ = &body;
    tasks_ = tasks;
    next_.store(0, std::memory_order_relaxed);
    inside_.fetch_and(~kClosed, std::memory_order_release);
    generation_.fetch_add(1, std::memory_order_release);
    generation_.notify_all();
    drain(0);
    std::uint32_t inside = inside_.fetch_or(kClosed, std::memory_order_acquire) | kClosed;
    while (inside != kClosed) inside = wait_for_change(inside_, inside);
  }
  running_.store(false, std::memory_order_release);
}

void ThreadPool::split(std::int64_t count, std::int64_t grain,
                       const std::function<void(std::int64_t, std::int64_t, int)>& body) {
  if (count <= 0) return;
  const std::int64_t most = std::max<std::int64_t>(count / std::max<std::int64_t>(grain, 1), 1);
  const std::int64_t pieces = std::min<std::int64_t>(most, threads());
  const auto piece = [&](std::int64_t index, int worker) {
    body(count * index / pieces, count * (index + 1) / pieces, worker);
  };
  run(pieces, std::ref(piece));  // by reference: what it captures would not fit without memory
}

void ThreadPool::work(int worker) {
  std::uint32_t seen = 0;
  for (;;) {
    seen = wait_for_change(generation_, seen);
    if (stopping_.load(std::memory_order_relaxed)) return;
    if ((inside_.fetch_add(1, std::memory_order_acquire) & kClosed) == 0) drain(worker);
    if (inside_.fetch_sub(1, std::memory_order_release) == kClosed + 1) inside_.notify_one();
  }
}

void ThreadPool::drain(int worker) {
  for (;;) {
    const std::int64_t task = next_.fetch_add(1, std::memory_order_relaxed);
    if (task >= tasks_) return;
    (*body_)(task, worker);
  }
}

}  // namespace tnl
