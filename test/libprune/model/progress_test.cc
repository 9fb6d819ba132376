#include "libprune/model/progress.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "libprune/model/parallel.h"

namespace prune {
namespace {

TEST(ProgressCounter, AddsUpAndPassesOn) {
  std::vector<std::string> calls;
  const Progress progress = [&](uint64_t done, uint64_t total, std::string_view what) {
    calls.push_back(std::to_string(done) + "/" + std::to_string(total) + " " + std::string(what));
  };
  ProgressCounter counter(progress, 10);
  counter.add(4, "a");
  counter.add(6, "b");
  EXPECT_EQ(calls, (std::vector<std::string>{"4/10 a", "10/10 b"}));
}

TEST(ProgressCounter, OneCallAtATime) {
  uint64_t last = 0;
  int calls = 0;  // not atomic on purpose: calls must not overlap
  const Progress progress = [&](uint64_t done, uint64_t, std::string_view) {
    EXPECT_EQ(done, last + 3);
    last = done;
    ++calls;
  };
  ProgressCounter counter(progress, 3000);
  parallel_for(1000, 4, [&](size_t) { counter.add(3, "x"); });
  EXPECT_EQ(calls, 1000);
}

TEST(ProgressCounter, NobodyNeedsToListen) {
  const Progress nobody;
  ProgressCounter(nobody, 10).add(4, "a");
}

}  // namespace
}  // namespace prune
