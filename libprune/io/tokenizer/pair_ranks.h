// From a pair of neighbouring tokens to the rank of their merge.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace prune::tokenizer {

inline constexpr uint32_t kNoRank = 0xFFFFFFFF;  // the pair does not merge

// A hash table with linear probing, at most half full: a lookup is one or two cache lines.
class PairRanks {
 public:
  explicit PairRanks(size_t pairs)
      : entries_(std::bit_ceil(2 * pairs + 2)), shift_(64 - std::countr_zero(entries_.size())) {}

  // A pair given twice keeps its last rank. No more pairs than the constructor was told.
  void insert(int32_t left, int32_t right, uint32_t rank) {
    const uint64_t key = key_of(left, right);
    size_t at = first_place(key);
    while (entries_[at].rank != kNoRank && entries_[at].key != key) at = (at + 1) & (entries_.size() - 1);
    entries_[at] = {key, rank};
  }

  uint32_t find(int32_t left, int32_t right) const {
    const uint64_t key = key_of(left, right);
    for (size_t at = first_place(key);; at = (at + 1) & (entries_.size() - 1)) {
      const Entry& entry = entries_[at];
      if (entry.key == key || entry.rank == kNoRank) return entry.rank;
    }
  }

 private:
  struct Entry {
    uint64_t key = 0;
    uint32_t rank = kNoRank;
  };

  static uint64_t key_of(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  size_t first_place(uint64_t key) const {
    constexpr uint64_t kGolden = 0x9E3779B97F4A7C15;  // 2^64 over the golden ratio: Fibonacci hashing
    return static_cast<size_t>((key * kGolden) >> shift_);
  }

  std::vector<Entry> entries_;
  int shift_;
};

}  // namespace prune::tokenizer
