// A fixed set of threads for loops whose pieces are independent.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
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

  // Splits [0, count) into pieces of at least `grain` and calls body(begin, end, worker) for each.
  // The pieces depend on count, grain and threads() alone.
  void split(std::int64_t count, std::int64_t grain,
             const std::function<void(std::int64_t begin, std::int64_t end, int worker)>& body);

 private:
  void work(int worker);
  void drain(int worker);

  std::mutex mutex_;
  std::condition_variable wake_, done_;
  std::vector<std::thread> workers_;
  const std::function<void(std::int64_t, int)>* body_ = nullptr;
  std::int64_t tasks_ = 0;
  std::atomic<std::int64_t> next_ = 0;
  int busy_ = 0;  // workers inside the current run
  std::uint64_t generation_ = 0;
  bool stopping_ = false;
};

}  // namespace tnl
