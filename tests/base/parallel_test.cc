#include "base/parallel.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <latch>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "tests/base/expect_error.h"

namespace mxferry::internal::testing {
namespace {

TEST(AvailableThreads, IsAtLeastOne) {
  EXPECT_GE(available_threads(), 1);
}

TEST(AvailableThreads, AreNoMoreThanTheQuotaKeepsBusy) {
  EXPECT_EQ(threads_for(8, std::nullopt), 8);
  EXPECT_EQ(threads_for(8, 100.0), 8);
  EXPECT_EQ(threads_for(8, 8.0), 8);
  EXPECT_EQ(threads_for(8, 1.5), 2);
  EXPECT_EQ(threads_for(8, 2.0), 2);
  EXPECT_EQ(threads_for(8, 0.001), 1);
}

TEST(RunWorkers, RunsEveryWorkerAtOnce) {
  constexpr int kThreads = 5;
  std::latch all_there(kThreads);
  std::vector<std::atomic<int>> runs(kThreads);
  run_workers(kThreads, {}, [&](int worker, const std::stop_token&) {
    all_there.arrive_and_wait();
    ++runs[static_cast<std::size_t>(worker)];
  });
  for (const auto& count : runs) EXPECT_EQ(count, 1);
}

TEST(RunWorkers, RunsTheFirstOnTheCallingThread) {
  std::vector<std::thread::id> ids(3);
  run_workers(3, {}, [&](int worker, const std::stop_token&) {
    ids[static_cast<std::size_t>(worker)] = std::this_thread::get_id();
  });
  EXPECT_EQ(ids[0], std::this_thread::get_id());
  EXPECT_NE(ids[1], ids[0]);
  EXPECT_NE(ids[2], ids[0]);
}

TEST(RunWorkers, RethrowsWhatAWorkerThrows) {
  for (const int thrower : {0, 2}) {
    EXPECT_THROW(run_workers(3, {},
                             [&](int worker, const std::stop_token&) {
                               if (worker == thrower) throw std::out_of_range("from a worker");
                             }),
                 std::out_of_range);
  }
}

TEST(RunWorkers, StopsTheOthersWhenOneThrows) {
  std::atomic<int> stopped = 0;
  EXPECT_THROW(run_workers(4, {},
                           [&](int worker, const std::stop_token& stop) {
                             if (worker == 3) throw std::runtime_error("first");
                             while (!stop.stop_requested()) std::this_thread::yield();
                             ++stopped;
                             throw std::logic_error("a consequence");
                           }),
               std::runtime_error);
  EXPECT_EQ(stopped, 3);
}

TEST(RunWorkers, StopsOnRequest) {
  std::stop_source source;
  EXPECT_ERROR(ErrorCode::cancelled,
               run_workers(2, source.get_token(), [&](int worker, const std::stop_token& stop) {
                 if (worker == 0) source.request_stop();
                 while (!stop.stop_requested()) std::this_thread::yield();
               }));
}

TEST(RunWorkers, HasStoppedWhereTheRequestCameBefore) {
  std::stop_source source;
  source.request_stop();
  bool was_asked = false;
  EXPECT_ERROR(ErrorCode::cancelled,
               run_workers(1, source.get_token(), [&](int, const std::stop_token& stop) {
                 was_asked = stop.stop_requested();
               }));
  EXPECT_TRUE(was_asked);
}

TEST(RunWorkers, PrefersTheErrorToTheCancellation) {
  std::stop_source source;
  EXPECT_THROW(run_workers(1, source.get_token(),
                           [&](int, const std::stop_token&) {
                             source.request_stop();
                             throw std::out_of_range("from a worker");
                           }),
               std::out_of_range);
}

TEST(ParallelFor, RunsEveryIndexOnce) {
  for (const int threads : {-1, 0, 1, 2, 7}) {
    for (const std::int64_t count : {0, 1, 3, 1000}) {
      std::vector<std::atomic<int>> runs(static_cast<std::size_t>(count));
      parallel_for(threads, count, [&](std::int64_t i) { ++runs[static_cast<std::size_t>(i)]; });
      for (const auto& run : runs) ASSERT_EQ(run, 1) << threads << " threads, " << count;
    }
  }
}

TEST(ParallelFor, UsesItsThreads) {
  std::latch both_there(2);
  parallel_for(2, 2, [&](std::int64_t) { both_there.arrive_and_wait(); });
}

TEST(ParallelFor, StopsAfterAnException) {
  std::int64_t runs = 0;
  EXPECT_THROW(parallel_for(1, 1000,
                            [&](std::int64_t i) {
                              ++runs;
                              if (i == 9) throw std::out_of_range("from a body");
                            }),
               std::out_of_range);
  EXPECT_EQ(runs, 10);
}

TEST(ParallelFor, RethrowsFromAnyThread) {
  EXPECT_THROW(parallel_for(4, 100,
                            [](std::int64_t i) {
                              if (i == 99) throw std::out_of_range("last");
                            }),
               std::out_of_range);
}

}  // namespace
}  // namespace mxferry::internal::testing
