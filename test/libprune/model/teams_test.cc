#include "libprune/model/teams.h"

#include <atomic>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <omp.h>

#include "libprune/model/parallel.h"

namespace prune {
namespace {

TEST(Teams, ShareThreadsAndPartsEvenly) {
  const ThreadCount threads(7);
  Teams teams(3, 0);
  ASSERT_EQ(teams.count(), 3);
  std::vector<int> sizes(3);
  std::vector<std::thread::id> leaders(3);
  teams.run([&](int64_t team) {
    sizes[size_t(team)] = omp_get_max_threads();
    leaders[size_t(team)] = std::this_thread::get_id();
  });
  EXPECT_EQ(sizes, (std::vector<int>{2, 2, 3}));
  EXPECT_EQ(std::set(leaders.begin(), leaders.end()).size(), 3u);
  EXPECT_EQ(teams.first(0, 8), 0);
  EXPECT_EQ(teams.first(1, 8), 2);
  EXPECT_EQ(teams.first(2, 8), 5);
  EXPECT_EQ(teams.first(3, 8), 8);
  EXPECT_EQ(omp_get_max_threads(), 7);
}

TEST(Teams, AreNoMoreThanThreads) {
  const ThreadCount threads(2);
  EXPECT_EQ(Teams(5, 0).count(), 2);
  EXPECT_EQ(Teams(0, 0).count(), 1);
}

TEST(Teams, TakeBoundedMemory) {
  const ThreadCount threads(8);
  EXPECT_EQ(Teams(8, Teams::kMostBytes / 7).count(), 8);
  EXPECT_EQ(Teams(8, Teams::kMostBytes / 3).count(), 4);
  EXPECT_EQ(Teams(8, Teams::kMostBytes + 1).count(), 1);
}

TEST(Teams, OneTeamIsTheCaller) {
  const ThreadCount threads(4);
  Teams teams(1, 0);
  int calls = 0;
  teams.run([&, caller = std::this_thread::get_id()](int64_t team) {
    ++calls;
    EXPECT_EQ(team, 0);
    EXPECT_EQ(std::this_thread::get_id(), caller);
    EXPECT_EQ(omp_get_max_threads(), 4);
  });
  EXPECT_EQ(calls, 1);
}

TEST(Teams, RunAgainAndAgain) {
  const ThreadCount threads(4);
  Teams teams(4, 0);
  std::vector<std::atomic<int>> calls(4);
  for (int i = 0; i < 200; ++i) teams.run([&](int64_t team) { ++calls[size_t(team)]; });
  for (const auto& count : calls) EXPECT_EQ(count, 200);
}

TEST(Teams, AnExceptionComesOutOnceAllAreDone) {
  const ThreadCount threads(3);
  Teams teams(3, 0);
  std::atomic<int> calls = 0;
  const auto body = [&](int64_t team) {
    ++calls;
    if (team == 1) throw std::out_of_range("one");
  };
  EXPECT_THROW(teams.run(body), std::out_of_range);
  EXPECT_EQ(calls, 3);
  EXPECT_NO_THROW(teams.run([](int64_t) {}));
}

}  // namespace
}  // namespace prune
