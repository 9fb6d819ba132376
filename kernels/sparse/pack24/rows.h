// A row by blocks of 64 columns, for any instruction set: a word holds a bit a column, a nibble a group, and
// what becomes of all sixteen groups is computed on words.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/sparse/simd/prefetch.h"

namespace prune::kernels {
namespace {

inline constexpr int64_t kPackBlock = 64;                  // columns
inline constexpr uint64_t kFirst = 0x1111'1111'1111'1111;  // the first column of every group

inline uint64_t count_in_groups(uint64_t bits) {
  bits -= bits >> 1 & 5 * kFirst;
  return (bits & 3 * kFirst) + (bits >> 2 & 3 * kFirst);
}

// All bits of the groups of which any is set.
inline uint64_t groups_of(uint64_t bits) {
  return ((bits | bits >> 1 | bits >> 2 | bits >> 3) & kFirst) * 15;
}

inline uint64_t lowest_in_groups(uint64_t bits) {
  const uint64_t above = (bits << 1 & 14 * kFirst) | (bits << 2 & 12 * kFirst) | (bits << 3 & 8 * kFirst);
  return bits & ~above;
}

// Two of each group: besides `chosen`, at most two, the lowest that are stored (-0), then the lowest.
inline uint64_t fill_groups(uint64_t chosen, uint64_t stored) {
  for (int round = 0; round < 2; ++round) {
    const uint64_t lacking = (~count_in_groups(chosen) >> 1 & kFirst) * 15;
    const uint64_t negative_zeros = stored & ~chosen;
    const uint64_t candidates = negative_zeros | (~chosen & ~groups_of(negative_zeros));
    chosen |= lowest_in_groups(candidates) & lacking;
  }
  return chosen;
}

// A nibble for each group: the column of the lower of its two bits, and four times the column of the upper.
inline uint64_t indices_of(uint64_t chosen) {
  const uint64_t has0 = chosen & kFirst, has1 = chosen >> 1 & kFirst, has2 = chosen >> 2 & kFirst,
                 has3 = chosen >> 3 & kFirst;
  const uint64_t lower = (has1 & ~has0) | (kFirst & ~has0 & ~has1) << 1;
  const uint64_t upper = has3 | (kFirst & ~has2) | (has2 | has3) << 1;
  return lower | upper << 2;
}

// Weights: Weight, as wide as a weight; any_of(block, bits), of the block's 64 weights those that have any of
// these bits set; and keep(block, chosen, values), which writes the 32 that are chosen.
template <class Weights>
bool pack_block(const unsigned char* block, unsigned char* values, uint64_t* indices) {
  using Bits = typename Weights::Weight;
  constexpr Bits kAll = static_cast<Bits>(~Bits{0}), kMagnitude = kAll >> 1;
  uint64_t chosen = Weights::any_of(block, kMagnitude);
  const uint64_t counts = count_in_groups(chosen);
  if (counts != 2 * kFirst) {
    if (((counts + 5 * kFirst) & 8 * kFirst) != 0) return false;  // three or four in a group
    chosen = fill_groups(chosen, Weights::any_of(block, kAll));
  }
  Weights::keep(block, chosen, values);
  *indices = indices_of(chosen);
  return true;
}

template <class Weights>
bool pack_row(const void* row, int64_t cols, void* kept, uint8_t* indices) {
  constexpr int64_t kBytes = kPackBlock * int64_t{sizeof(typename Weights::Weight)};
  const auto* weights = static_cast<const unsigned char*>(row);
  auto* values = static_cast<unsigned char*>(kept);
  uint64_t word = 0;
  int64_t left = cols;
  for (; left >= kPackBlock; left -= kPackBlock, weights += kBytes, values += kBytes / 2, indices += 8) {
    for (int64_t line = 0; line < kBytes; line += 64) prefetch_ahead(weights + line);
    if (!pack_block<Weights>(weights, values, &word)) return false;
    std::memcpy(indices, &word, sizeof word);
  }
  if (left == 0) return true;
  const int64_t bytes = left * int64_t{sizeof(typename Weights::Weight)};
  unsigned char padded[kBytes] = {}, padded_values[kBytes / 2];
  std::memcpy(padded, weights, static_cast<size_t>(bytes));
  if (!pack_block<Weights>(padded, padded_values, &word)) return false;
  word &= (uint64_t{1} << left) - 1;
  std::memcpy(values, padded_values, static_cast<size_t>(bytes / 2));
  std::memcpy(indices, &word, static_cast<size_t>((left + 7) / 8));
  return true;
}

}  // namespace
}  // namespace prune::kernels
