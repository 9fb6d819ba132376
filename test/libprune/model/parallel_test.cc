#include "libprune/model/parallel.h"

#include <atomic>
#include <stdexcept>
#include <vector>

#include <gtest/gtest.h>

namespace prune {
namespace {

TEST(ParallelFor, CallsEachOnce) {
  for (const int threads : {0, 1, 3}) {
    for (const size_t n : {0, 1, 2, 1000}) {
      std::vector<std::atomic<int>> calls(n);
      parallel_for(n, threads, [&](size_t i) { ++calls[i]; });
      for (const auto& count : calls) EXPECT_EQ(count, 1);
    }
  }
}

TEST(ParallelFor, TheFirstExceptionComesOutAndStopsTheRest) {
  std::atomic<size_t> calls = 0;
  const auto body = [&](size_t i) {
    ++calls;
    if (i == 5) throw std::out_of_range("five");
  };
  EXPECT_THROW(parallel_for(1'000'000, 1, body), std::out_of_range);
  EXPECT_EQ(calls, 6u);
  EXPECT_THROW(parallel_for(1000, 4, [](size_t) { throw std::out_of_range("all"); }), std::out_of_range);
}

}  // namespace
}  // namespace prune
