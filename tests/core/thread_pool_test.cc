#include "core/thread_pool.h"

#include <atomic>
#include <cstdint>
#include <numeric>
#include <vector>

#include <gtest/gtest.h>

namespace tnl {
namespace {

// Plain, unsynchronised counters: ThreadSanitizer sees any overlap of tasks or workers.
TEST(ThreadPool, RunsEveryTaskOnce) {
  for (int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    for (std::int64_t tasks : {0, 1, 2, 3, 64, 1000}) {
      std::vector<int> calls(static_cast<std::size_t>(tasks), 0);
      pool.run(tasks, [&](std::int64_t task, int) { ++calls[static_cast<std::size_t>(task)]; });
      EXPECT_EQ(calls, std::vector<int>(static_cast<std::size_t>(tasks), 1));
    }
  }
}

TEST(ThreadPool, GivesAWorkerOneTaskAtATime) {
  ThreadPool pool(4);
  std::vector<std::int64_t> sum(4, 0);
  pool.run(2000, [&](std::int64_t task, int worker) {
    ASSERT_GE(worker, 0);
    ASSERT_LT(worker, 4);
    sum[static_cast<std::size_t>(worker)] += task;
  });
  EXPECT_EQ(std::accumulate(sum.begin(), sum.end(), std::int64_t{0}), 2000 * 1999 / 2);
}

TEST(ThreadPool, ShowsTheCallerWhatTheTasksWrote) {
  ThreadPool pool(3);
  std::vector<std::int64_t> value(300, 0);
  for (std::int64_t round = 1; round <= 200; ++round) {
    pool.run(300, [&](std::int64_t task, int) { value[static_cast<std::size_t>(task)] += task; });
    ASSERT_EQ(value[299], 299 * round);
  }
}

TEST(ThreadPool, UsesSeveralThreadsAtOnce) {
  ThreadPool pool(2);
  std::atomic<int> arrived = 0;
  // Each task waits for the other: this ends only if both run at the same time.
  pool.run(2, [&](std::int64_t, int) {
    ++arrived;
    while (arrived < 2) std::this_thread::yield();
  });
  EXPECT_EQ(arrived, 2);
}

TEST(ThreadPool, SplitsIntoPiecesThatCoverTheRange) {
  ThreadPool pool(3);
  for (std::int64_t count : {0, 1, 7, 100, 101}) {
    for (std::int64_t grain : {0, 1, 30, 1000}) {
      std::vector<int> calls(static_cast<std::size_t>(count), 0);
      std::atomic<int> pieces = 0;
      pool.split(count, grain, [&](std::int64_t begin, std::int64_t end, int) {
        ++pieces;
        EXPECT_LT(begin, end);
        for (std::int64_t i = begin; i < end; ++i) ++calls[static_cast<std::size_t>(i)];
      });
      EXPECT_EQ(calls, std::vector<int>(static_cast<std::size_t>(count), 1));
      EXPECT_LE(pieces, 3);
      if (grain >= count) {
        EXPECT_EQ(pieces, count == 0 ? 0 : 1);
      }
    }
  }
}

TEST(ThreadPool, SplitsTheSameWayEveryTime) {
  ThreadPool pool(2);
  std::vector<std::int64_t> begins(2, -1);
  for (int round = 0; round < 50; ++round) {
    pool.split(11, 1, [&](std::int64_t begin, std::int64_t end, int) {
      begins[begin == 0 ? 0 : 1] = begin;
      EXPECT_EQ(end, begin == 0 ? 5 : 11);
    });
    ASSERT_EQ(begins, (std::vector<std::int64_t>{0, 5}));
  }
}

TEST(ThreadPool, EndsWithoutEverHavingRun) {
  for (int round = 0; round < 20; ++round) ThreadPool pool(4);
}

}  // namespace
}  // namespace tnl
