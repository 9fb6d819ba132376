#include "libprune/model/memory_budget.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

namespace prune {
namespace {

TEST(MemoryBudget, IsNeverOverdrawn) {
  MemoryBudget budget(100);
  std::atomic<int> held = 0, most = 0, rounds = 0;
  const auto work = [&](int bytes) {
    for (int i = 0; i < 200; ++i) {
      const auto lease = budget.take(size_t(bytes));
      const int now = held += bytes;
      for (int seen = most; now > seen && !most.compare_exchange_weak(seen, now);) {
      }
      std::this_thread::yield();
      held -= bytes;
      ++rounds;
    }
  };
  std::vector<std::thread> threads;
  for (const int bytes : {30, 40, 50, 60}) threads.emplace_back(work, bytes);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(rounds, 800);
  EXPECT_LE(most, 100);
  EXPECT_GE(most, 60);
}

TEST(MemoryBudget, GivesAllOfItToWhoWantsMore) {
  MemoryBudget budget(100);
  { const auto lease = budget.take(1'000'000); }
  std::atomic<bool> alone = false;
  std::thread second;
  {
    const auto first = budget.take(60);
    second = std::thread([&] {
      const auto all = budget.take(1'000);
      alone = true;
    });
    const auto rest = budget.take(40);  // is still there for others
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    EXPECT_FALSE(alone);
  }
  second.join();
  EXPECT_TRUE(alone);
}

}  // namespace
}  // namespace prune
