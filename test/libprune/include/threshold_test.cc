#include <prune/threshold.h>

#include <algorithm>
#include <limits>
#include <random>
#include <span>
#include <vector>

#include "test/libprune/include/values.h"

namespace prune {
namespace {

template <class Key>
class Search : public ::testing::Test {
 protected:
  using Limits = std::numeric_limits<Key>;

  // Few distinct keys, many that share their upper digits, the extremes among them.
  std::vector<Key> tied_keys(size_t n) {
    std::vector<Key> pool = {Key(0), Key(1), Key(-1), Limits::max(), Limits::min(), Key(Limits::max() - 1)};
    for (int i = 0; i < 4; ++i) pool.push_back(Key(uint64_t(rng_()) << 32 | rng_()));
    for (size_t i = 0; i < 4; ++i) pool.push_back(Key(pool[6 + i] ^ 1));
    std::vector<Key> keys(n);
    for (Key& key : keys) key = pool[rng_() % pool.size()];
    return keys;
  }

  std::vector<Key> random_keys(size_t n) {
    std::vector<Key> keys(n);
    for (Key& key : keys) key = Key(uint64_t(rng_()) << 32 | rng_());
    return keys;
  }

  static void expect_threshold(const Threshold<Key>& found, std::vector<Key> keys, int64_t keep) {
    std::nth_element(keys.begin(), keys.begin() + (keep - 1), keys.end(), std::greater<>());
    const Key kth = keys[size_t(keep - 1)];
    const int64_t above = std::count_if(keys.begin(), keys.end(), [&](Key k) { return k > kth; });
    EXPECT_EQ(found.key, kth) << "keep " << keep << " of " << keys.size();
    EXPECT_EQ(found.ties, keep - above) << "keep " << keep << " of " << keys.size();
  }

  std::mt19937 rng_{testing::test_seed()};
};

using KeyTypes = ::testing::Types<int8_t, int16_t, int32_t, int64_t>;
TYPED_TEST_SUITE(Search, KeyTypes);

// Counts `keys` in chunks of changing size; returns how many passes it took.
template <class Key>
int search_in_chunks(ThresholdSearch<Key>& search, std::span<const Key> keys) {
  int passes = 0;
  do {
    ++passes;
    for (size_t at = 0, step = 1; at < keys.size(); at += step, step = step % 97 + 1) {
      step = std::min(step, keys.size() - at);
      search.count(keys.data() + at, Index(step));
    }
  } while (search.next_pass());
  return passes;
}

TYPED_TEST(Search, InChunks) {
  using Key = TypeParam;
  for (const size_t n : {1, 2, 7, 100, 5000}) {
    for (const std::vector<Key>& keys :
         {this->tied_keys(n), this->random_keys(n), std::vector<Key>(n, Key(-3))}) {
      for (const size_t keep : {size_t(1), n / 3, n / 2, n - 1, n}) {
        if (keep == 0) continue;
        ThresholdSearch<Key> search{int64_t(keep)};
        EXPECT_EQ(search_in_chunks<Key>(search, keys), std::max<int>(1, sizeof(Key) / 2));
        this->expect_threshold(search.result(), keys, int64_t(keep));
      }
    }
  }
}

TYPED_TEST(Search, MergedFromParts) {
  using Key = TypeParam;
  for (const bool tied : {true, false}) {
    const std::vector<Key> keys = tied ? this->tied_keys(3001) : this->random_keys(3001);
    for (const int64_t keep : {1, 2, 1000, 1500, 3000, 3001}) {
      ThresholdSearch<Key> search(keep);
      do {
        search.count(keys.data(), 1000);
        std::vector<ThresholdSearch<Key>> parts(2, search);
        for (ThresholdSearch<Key>& part : parts) part.forget_counts();
        parts[0].count(keys.data() + 1000, 1);
        parts[1].count(keys.data() + 1001, 2000);
        for (const ThresholdSearch<Key>& part : parts) search.merge(part);
      } while (search.next_pass());
      this->expect_threshold(search.result(), keys, keep);
    }
  }
}

}  // namespace
}  // namespace prune
