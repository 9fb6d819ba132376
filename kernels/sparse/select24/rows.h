// A row by blocks of 64 columns, a word of bits each, for any instruction set.
//
// Each lane of a group is compared with the next one and with the one across (modulo 4). It stays when it
// wins two of three: the third comparison, with the lane before, is the one that the other made. The lower
// column wins a tie: its magnitude gets 1 added.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/sparse/simd/prefetch.h"

namespace prune::kernels {
namespace {

inline constexpr int64_t kSelectBlock = 64;  // columns

struct Wins {
  uint64_t next = 0;    // bit j: column j beats the next one of its group, the last one the first
  uint64_t across = 0;  // the one two columns on
};

inline uint64_t two_wins(Wins wins) {
  constexpr uint64_t kFirst = 0x1111111111111111u;
  const uint64_t before = ~((wins.next << 1 & ~kFirst) | (wins.next >> 3 & kFirst));
  return (wins.next & wins.across) | (before & (wins.next | wins.across));
}

// Keys: Weight, as wide as a weight, and wins(), which takes the weights of a block; it keeps the largest
// magnitude of all.
template <class Keys>
uint32_t select_row(const void* row, int64_t cols, uint64_t* words) {
  using Weight = typename Keys::Weight;
  const auto* weights = static_cast<const unsigned char*>(row);
  Keys keys;
  int64_t left = cols;
  for (; left >= kSelectBlock; left -= kSelectBlock, weights += kSelectBlock * int64_t{sizeof(Weight)}) {
    for (int64_t line = 0; line < kSelectBlock * int64_t{sizeof(Weight)}; line += 64)
      prefetch_ahead(weights + line);
    *words++ = two_wins(keys.wins(weights));
  }
  if (left > 0) {
    unsigned char padded[kSelectBlock * sizeof(Weight)] = {};
    std::memcpy(padded, weights, static_cast<size_t>(left) * sizeof(Weight));
    *words = two_wins(keys.wins(padded)) & ((uint64_t{1} << left) - 1);
  }
  return keys.largest();
}

// The largest of a register's lanes, none of which is negative.
template <class Weight, class Reg>
uint32_t largest_lane(const Reg& reg) {
  Weight lanes[sizeof reg / sizeof(Weight)];
  std::memcpy(lanes, &reg, sizeof reg);
  Weight most = 0;
  for (const Weight lane : lanes) most = lane > most ? lane : most;
  return most;
}

}  // namespace
}  // namespace prune::kernels
