#include "core/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <numeric>
#include <thread>
#include <vector>

namespace tnl {
namespace {

TEST(ThreadPool, RunsEveryTaskOnce) {
  for (const int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    for (const std::int64_t tasks : {0, 1, 2, 7, 100}) {
      std::vector<int> calls(static_cast<std::size_t>(tasks));
      std::vector<int> workers_seen(static_cast<std::size_t>(threads));
      pool.run(tasks, [&](std::int64_t task, int worker) {
        ++calls[task];  // plain: each task belongs to one thread
        ASSERT_GE(worker, 0);
        ASSERT_LT(worker, threads);
        ++workers_seen[worker];
      });
      for (const int count : calls) EXPECT_EQ(count, 1);
      EXPECT_EQ(std::accumulate(workers_seen.begin(), workers_seen.end(), 0), tasks);
    }
  }
}

// Plain memory written inside a run is read by the caller and by the next run: under the thread
// sanitizer this shows every hand-over that lacks an order, late wakers above all.
TEST(ThreadPool, HandsMemoryOverBetweenShortRuns) {
  ThreadPool pool(4);
  std::vector<std::int64_t> values(16, 0);
  for (int round = 1; round <= 3000; ++round) {
    const std::int64_t tasks = 2 + round % 15;  // the body and the count change every time
    pool.run(tasks, [&values, round](std::int64_t task, int) { values[task] += round; });
    if (round % 16 == 0) {  // long enough for the workers to fall asleep
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
  }
  std::vector<std::int64_t> expected(16, 0);
  for (int round = 1; round <= 3000; ++round) {
    for (std::int64_t task = 0; task < 2 + round % 15; ++task) expected[task] += round;
  }
  EXPECT_EQ(values, expected);
}

TEST(ThreadPool, WaitsForTheSlowestTask) {
  ThreadPool pool(3);
  std::vector<int> done(3);
  pool.run(3, [&](std::int64_t task, int) {
    std::this_thread::sleep_for(std::chrono::milliseconds(task == 2 ? 30 : 1));
    done[task] = 1;
  });
  EXPECT_EQ(done, std::vector<int>({1, 1, 1}));
}

TEST(ThreadPool, TasksRunAtTheSameTime) {
  ThreadPool pool(2);
  std::atomic<int> arrived = 0;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  pool.run(2, [&](std::int64_t, int) {
    ++arrived;  // each waits for the other
    while (arrived < 2 && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
  });
  EXPECT_EQ(arrived, 2);
}

TEST(ThreadPool, SplitCoversTheRangeInEvenPieces) {
  ThreadPool pool(4);
  for (const std::int64_t count : {0, 1, 3, 4, 5, 17, 1000}) {
    for (const std::int64_t grain : {0, 1, 4, 100, 5000}) {
      std::vector<int> covered(static_cast<std::size_t>(count));
      std::atomic<int> pieces = 0;
      pool.split(count, grain, [&](std::int64_t begin, std::int64_t end, int) {
        ++pieces;
        EXPECT_LT(begin, end);
        EXPECT_GE(end - begin, std::min(count, grain));
        for (std::int64_t i = begin; i < end; ++i) ++covered[i];
      });
      for (const int times : covered) EXPECT_EQ(times, 1);
      EXPECT_LE(pieces, 4);
      if (count >= 4 && grain <= 1) {
        EXPECT_EQ(pieces, 4);
      }
    }
  }
}

TEST(ThreadPool, PoolsComeAndGo) {
  for (int round = 0; round < 50; ++round) {
    ThreadPool pool(3);
    std::atomic<std::int64_t> sum = 0;
    if (round % 2 == 0) pool.run(10, [&](std::int64_t task, int) { sum += task; });
    EXPECT_EQ(sum, round % 2 == 0 ? 45 : 0);
  }
}

TEST(ThreadPoolDeathTest, RefusesNestedRuns) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        ThreadPool pool(2);
        pool.run(2, [&](std::int64_t, int) { pool.run(2, [](std::int64_t, int) {}); });
      },
      "internal check failed");
}

}  // namespace
}  // namespace tnl
