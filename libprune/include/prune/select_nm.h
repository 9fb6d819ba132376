// The N largest of every M keys of a row, ties to the lower column: vectorised for groups of 4 and 8.
//
// A key stays when fewer than N others of its group beat it. One beats another when it is larger, or equal
// and in a lower column. Rotating the group by r puts at lane i the key of lane (i + r) mod M. It stands in a
// lower column where that wraps around, and there "larger or equal" is "key + 1 is larger"; so each rotation
// costs a shuffle, an add, a compare and a count, with no branch. The vectors are 16 bytes, which SSE2, NEON
// and everything later have.
#pragma once

#include <cstdint>
#include <cstring>

#include <prune/pattern.h>

namespace prune::detail {

typedef int16_t I16x8 __attribute__((vector_size(16)));
typedef int32_t I32x4 __attribute__((vector_size(16)));
typedef int8_t I8x8 __attribute__((vector_size(8)));

template <class V, class Key>
V load_lanes(const Key* keys) {
  V lanes;
  std::memcpy(&lanes, keys, sizeof lanes);
  return lanes;
}

// Lane masks (0 or -1) to one bit a lane.
inline uint32_t lane_bits(I16x8 lanes) {
  const I8x8 narrow = __builtin_convertvector(lanes, I8x8);
  uint64_t bytes;
  std::memcpy(&bytes, &narrow, sizeof bytes);
  // Byte i keeps its bit i; the multiplication adds the eight bytes up in the top one.
  return uint32_t((bytes & 0x8040201008040201u) * 0x0101010101010101u >> 56);
}
inline uint32_t lane_bits(I32x4 lanes) {
  constexpr I32x4 kBit = {1, 2, 4, 8};
  lanes &= kBit;
  lanes |= __builtin_shufflevector(lanes, lanes, 2, 3, 0, 1);
  return uint32_t(lanes[0] | lanes[1]);
}

// -(number of keys of the same group of 4 that beat each lane).
inline I16x8 beaten_in_4(I16x8 k) {
  constexpr I16x8 kWrap1 = {0, 0, 0, 1, 0, 0, 0, 1};
  constexpr I16x8 kWrap2 = {0, 0, 1, 1, 0, 0, 1, 1};
  constexpr I16x8 kWrap3 = {0, 1, 1, 1, 0, 1, 1, 1};
  return (__builtin_shufflevector(k, k, 1, 2, 3, 0, 5, 6, 7, 4) + kWrap1 > k) +
         (__builtin_shufflevector(k, k, 2, 3, 0, 1, 6, 7, 4, 5) + kWrap2 > k) +
         (__builtin_shufflevector(k, k, 3, 0, 1, 2, 7, 4, 5, 6) + kWrap3 > k);
}
inline I32x4 beaten_in_4(I32x4 k) {
  constexpr I32x4 kWrap1 = {0, 0, 0, 1};
  constexpr I32x4 kWrap2 = {0, 0, 1, 1};
  constexpr I32x4 kWrap3 = {0, 1, 1, 1};
  return (__builtin_shufflevector(k, k, 1, 2, 3, 0) + kWrap1 > k) +
         (__builtin_shufflevector(k, k, 2, 3, 0, 1) + kWrap2 > k) +
         (__builtin_shufflevector(k, k, 3, 0, 1, 2) + kWrap3 > k);
}
inline I16x8 beaten_in_8(I16x8 k) {
  constexpr I16x8 kWrap1 = {0, 0, 0, 0, 0, 0, 0, 1};
  constexpr I16x8 kWrap2 = {0, 0, 0, 0, 0, 0, 1, 1};
  constexpr I16x8 kWrap3 = {0, 0, 0, 0, 0, 1, 1, 1};
  constexpr I16x8 kWrap4 = {0, 0, 0, 0, 1, 1, 1, 1};
  constexpr I16x8 kWrap5 = {0, 0, 0, 1, 1, 1, 1, 1};
  constexpr I16x8 kWrap6 = {0, 0, 1, 1, 1, 1, 1, 1};
  constexpr I16x8 kWrap7 = {0, 1, 1, 1, 1, 1, 1, 1};
  return (__builtin_shufflevector(k, k, 1, 2, 3, 4, 5, 6, 7, 0) + kWrap1 > k) +
         (__builtin_shufflevector(k, k, 2, 3, 4, 5, 6, 7, 0, 1) + kWrap2 > k) +
         (__builtin_shufflevector(k, k, 3, 4, 5, 6, 7, 0, 1, 2) + kWrap3 > k) +
         (__builtin_shufflevector(k, k, 4, 5, 6, 7, 0, 1, 2, 3) + kWrap4 > k) +
         (__builtin_shufflevector(k, k, 5, 6, 7, 0, 1, 2, 3, 4) + kWrap5 > k) +
         (__builtin_shufflevector(k, k, 6, 7, 0, 1, 2, 3, 4, 5) + kWrap6 > k) +
         (__builtin_shufflevector(k, k, 7, 0, 1, 2, 3, 4, 5, 6) + kWrap7 > k);
}

// The keys of 8 columns, groups of 4 or one group of 8: bit i of the result keeps column i.
template <int kGroup>
uint32_t select_8_columns(const int16_t* keys, int keep) {
  const I16x8 k = load_lanes<I16x8>(keys);
  const I16x8 beaten = kGroup == 4 ? beaten_in_4(k) : beaten_in_8(k);
  return lane_bits(I16x8(beaten > int16_t(-keep)));
}
template <int kGroup>
uint32_t select_8_columns(const int32_t* keys, int keep) {
  const I32x4 low = load_lanes<I32x4>(keys);
  const I32x4 high = load_lanes<I32x4>(keys + 4);
  I32x4 beaten_low = beaten_in_4(low);
  I32x4 beaten_high = beaten_in_4(high);
  if constexpr (kGroup == 8) {
    const auto across = [](I32x4 k, I32x4 others, int32_t equal_beats) {
      others += equal_beats;
      return (others > k) + (__builtin_shufflevector(others, others, 1, 2, 3, 0) > k) +
             (__builtin_shufflevector(others, others, 2, 3, 0, 1) > k) +
             (__builtin_shufflevector(others, others, 3, 0, 1, 2) > k);
    };
    beaten_low += across(low, high, 0);
    beaten_high += across(high, low, 1);
  }
  const I32x4 least = I32x4{} - keep;
  return lane_bits(I32x4(beaten_low > least)) | lane_bits(I32x4(beaten_high > least)) << 4;
}

// One group of any size, by counting.
template <class Key>
uint32_t select_group(const Key* keys, int keep, int group) {
  uint32_t bits = 0;
  for (int i = 0; i < group; ++i) {
    int beaten = 0;
    for (int j = 0; j < i; ++j) beaten += keys[j] >= keys[i];
    for (int j = i + 1; j < group; ++j) beaten += keys[j] > keys[i];
    bits |= uint32_t(beaten < keep) << i;
  }
  return bits;
}

template <int kGroup, class Key>
void select_row_by_8(const Key* keys, Index cols, int keep, uint64_t* words) {
  auto* bytes = reinterpret_cast<uint8_t*>(words);
  Index j = 0;
  for (; j + 8 <= cols; j += 8) bytes[j / 8] = uint8_t(select_8_columns<kGroup>(keys + j, keep));
  if (j < cols) bytes[j / 8] = uint8_t(select_group(keys + j, keep, kGroup));  // half a byte: one group of 4
}

// Writes the bits of one row. `keys` must not reach the type's maximum, where only NaN patterns are.
// `words` are 0 on entry; cols is a multiple of the group.
template <class Key>
void select_nm_row(const Key* keys, Index cols, NM pattern, uint64_t* words) {
  if constexpr (sizeof(Key) == 2 || sizeof(Key) == 4) {
    if (pattern.group == 4) return select_row_by_8<4>(keys, cols, pattern.keep, words);
    if (pattern.group == 8) return select_row_by_8<8>(keys, cols, pattern.keep, words);
  }
  for (Index j = 0; j < cols; j += pattern.group) {
    const uint64_t bits = select_group(keys + j, pattern.keep, pattern.group);
    words[j / 64] |= bits << (j % 64);
    if (j % 64 + pattern.group > 64) words[j / 64 + 1] |= bits >> (64 - j % 64);
  }
}

}  // namespace prune::detail
