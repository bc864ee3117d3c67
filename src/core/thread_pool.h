// A fixed set of threads for loops whose pieces are independent.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

namespace tnl {

class ThreadPool {
 public:
  // The calling thread works too, so `threads` - 1 are started. threads >= 1.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls body(task, worker) once for every task in [0, tasks), 0 <= worker < threads(), each
  // worker at one task at a time; returns when all are done. Tasks are handed out in order to
  // whoever is free, so results must not depend on the worker. One call at a time; body must not
  // call run() and must not throw.
  void run(std::int64_t tasks, const std::function<void(std::int64_t task, int worker)>& body);

  // Splits [0, count) into pieces of at least `grain` (one where count is less) and calls
  // body(begin, end, worker) for each. The pieces depend on count, grain and threads() alone.
  void split(std::int64_t count, std::int64_t grain,
             const std::function<void(std::int64_t begin, std::int64_t end, int worker)>& body);

 private:
  void work(int worker);
  void drain(int worker);

  std::vector<std::thread> workers_;

  // A worker looks at body_ and tasks_ only between entering and leaving: entering adds one to
  // inside_ and succeeds where kClosed was not set. run() opens after writing them and closes
  // before it waits for the last to leave, so a worker that wakes late finds the door closed.
  static constexpr std::uint32_t kClosed = std::uint32_t{1} << 31;
  const std::function<void(std::int64_t, int)>* body_ = nullptr;
  std::int64_t tasks_ = 0;
  alignas(64) std::atomic<std::int64_t> next_ = 0;
  alignas(64) std::atomic<std::uint32_t> inside_ = kClosed;
  alignas(64) std::atomic<std::uint32_t> generation_ = 0;  // of runs; what idle workers wait on
  std::atomic<bool> stopping_ = false;
  std::atomic<bool> running_ = false;
};

}  // namespace tnl
