// Any pattern: of every group no pair, one, or where three or four of its weights stay two.
#pragma once

#include "kernels/sparse/six_pairs/nm24.h"

namespace prune::kernels {
namespace {

using ListPlaces = DensePlaces<ListShape::kGroups>;

// What a row keeps of a block; behind the last pair zeros, which may be multiplied.
struct PairList {
  uint32_t pairs[2 * ListShape::kGroups];
  uint8_t places[2 * ListShape::kGroups];
  uint8_t unused[8];
};
static_assert(sizeof(PairList) == 128);

// By the four bits of a group: of which bytes of the group its two entries are made, and where their inputs
// lie. A byte 0x80 and above gives zero, an entry of such bytes is none.
struct GroupTables {
  alignas(64) uint8_t bytes[16][8];
  alignas(64) uint32_t places[16][2];

  constexpr GroupTables() : bytes(), places() {
    for (int bits = 0; bits < 16; ++bits) {
      int stays[4] = {}, count = 0;
      for (int i = 0; i < 4; ++i) {
        if (bits >> i & 1) stays[count++] = i;
      }
      set(bits, 0, -1, -1);
      set(bits, 1, -1, -1);
      if (count > 2) set(bits, 1, 2, 3);
      // One weight is paired with its neighbour, which is zero.
      if (count == 2) set(bits, 0, stays[0], stays[1]);
      if (count == 1) set(bits, 0, stays[0] / 2 * 2, stays[0] / 2 * 2 + 1);
      if (count > 2) set(bits, 0, 0, 1);
    }
  }

 private:
  constexpr void set(int bits, int entry, int i, int j) {
    const int inputs[2] = {i, j};
    for (int h = 0; h < 2; ++h) {
      for (int b = 0; b < 2; ++b)
        bytes[bits][4 * entry + 2 * h + b] = static_cast<uint8_t>(i < 0 ? 0x80 : 2 * inputs[h] + b);
    }
    places[bits][entry] = i < 0 ? 0 : static_cast<uint32_t>(ListPlaces::place(i, j));
  }
};
inline constexpr GroupTables kGroupTables;

// Words 4 l and others: kStep times the number of the group, two 32-bit lanes each.
struct LaneRamps {
  alignas(64) uint64_t shifts[8];
  alignas(64) uint64_t places[8];
  alignas(64) uint64_t upper[8];  // the second group of 128 bits: its bytes begin at 8
  constexpr LaneRamps() : shifts(), places(), upper() {
    for (uint64_t g = 0; g < 8; ++g) {
      shifts[g] = 4 * g;
      places[g] = (uint64_t{ListPlaces::kDistance} * g) | (uint64_t{ListPlaces::kDistance} * g) << 32;
      upper[g] = g % 2 == 1 ? 0x0808080808080808 : 0;
    }
  }
};
inline constexpr LaneRamps kLaneRamps;

// Appends the pairs of the eight groups from `group` of the block on, whose bits are `mask` and whose first
// column is `column`, to the `count` that the list has; returns the new count.
template <class Values>
PRUNE_INLINE int64_t append_groups(uint32_t mask, const char* values, const ColumnScales& scales,
                                   int64_t column, int group, int64_t count, PairList& list) {
  const __m512i weights = Values::expand(mask, values, scales, column);
  // Group g's bits in the lowest of its 64; permutations look at no more than four.
  const __m512i bits = _mm512_srlv_epi64(_mm512_set1_epi64(mask), _mm512_load_si512(kLaneRamps.shifts));
  const auto look_up = [&](const void* table) {
    const auto* half = static_cast<const __m512i*>(table);
    return _mm512_permutex2var_epi64(_mm512_load_si512(half), bits, _mm512_load_si512(half + 1));
  };
  const __m512i bytes = look_up(kGroupTables.bytes);
  const __m512i entries =
      _mm512_shuffle_epi8(weights, _mm512_or_si512(bytes, _mm512_load_si512(kLaneRamps.upper)));
  const __m512i first = _mm512_set1_epi32(static_cast<int>(ListPlaces::kDistance) * group);
  const __m512i places = _mm512_add_epi32(look_up(kGroupTables.places),
                                          _mm512_add_epi32(_mm512_load_si512(kLaneRamps.places), first));
  const auto stays = static_cast<__mmask16>(~_mm512_movepi32_mask(bytes));
  const int added = __builtin_popcount(stays);
  const auto room = static_cast<__mmask16>((1u << added) - 1);
  _mm512_mask_storeu_epi32(list.pairs + count, room, _mm512_maskz_compress_epi32(stays, entries));
  _mm_mask_storeu_epi8(list.places + count, room,
                       _mm512_cvtepi32_epi8(_mm512_maskz_compress_epi32(stays, places)));
  return count + added;
}

// Lists of a block, then of every row how many steps of two pairs its list takes, then the rows by that,
// descending: the processor foresees where a list ends. The line behind keeps blocks from meeting in the same
// sets of the cache.
template <class Values>
struct ListFormat {
  using Shape = ListShape;
  using Places = ListPlaces;
  static constexpr int64_t kMarkBytes = Shape::kMarkBytes;
  static constexpr int64_t kMostRows = 256, kMostSteps = Shape::kGroups;
  // Lists are twice as large: so many blocks stay in the second-level cache for all panels.
  static constexpr Cut kInPlace = {.chunk_rows = kMostRows, .segment_blocks = 16}, kOnce = kInPlace;
  // How many of a row's values the blocks before took, behind row_offsets.
  static constexpr int64_t kStateBytes = kMostRows * sizeof(int64_t);

  static int64_t block_bytes(int64_t rows) {
    return rows * static_cast<int64_t>(sizeof(PairList)) + 2 * kMostRows + 64;
  }

  static void stage(const BitmaskRows& w, const Blocks& blocks, void* staged) {
    const int64_t rows = (w.rows + kRowsTogether - 1) / kRowsTogether * kRowsTogether;
    auto* next = static_cast<int64_t*>(staged);
    char* first = static_cast<char*>(staged) + kStateBytes;
    for (int64_t r = 0; r < rows; ++r) {
      if (blocks.first == 0) next[r] = r < w.rows ? w.row_offsets[r] : 0;
      next[r] = stage_row(w, blocks, r, next[r], rows, first);
    }
    for (int64_t b = 0; b < blocks.count; ++b) sort_rows(first + b * block_bytes(rows), rows);
  }

  static void begin(const char* state, int64_t rows, float* tile) {
    zero_sums<ListFormat>(state, rows, tile);
  }

  template <int NV>
  static void multiply_block(const char* staged, int64_t rows, const char* block, const Panel& /*panel*/,
                             float* tile) {
    const auto* lists = reinterpret_cast<const PairList*>(staged);
    const auto* steps = reinterpret_cast<const uint8_t*>(lists + rows);
    const uint8_t* order = steps + kMostRows;
    for (int64_t i = 0; i < rows && steps[order[i]] > 0; i += 2)
      multiply_two<NV>(lists, order + i, steps[order[i]], block, tile);
  }

 private:
  static PRUNE_INLINE uint64_t load_mask(const uint8_t* p, int64_t bytes) {
    uint32_t low = 0;
    uint16_t high = 0;
    if (bytes >= kMarkBytes) {
      __builtin_memcpy(&low, p, sizeof low);
      __builtin_memcpy(&high, p + sizeof low, sizeof high);
      return low | uint64_t{high} << 32;
    }
    uint64_t mask = 0;
    for (int64_t i = 0; i < bytes; ++i) mask |= uint64_t{p[i]} << 8 * i;
    return mask;
  }

  // Rows that are not there have empty lists. Returns where the next block's values begin.
  static int64_t stage_row(const BitmaskRows& w, const Blocks& blocks, int64_t row, int64_t next,
                           int64_t rows, char* staged) {
    const int64_t mask_bytes = (w.cols + 7) / 8;
    const char* values = static_cast<const char*>(w.values) + next * Values::kBytes;
    // Of rows that are not there no scale counts.
    const ColumnScales scales = scales_of(w, row < w.rows ? row : 0);
    for (int64_t b = blocks.first; b < blocks.first + blocks.count; ++b, staged += block_bytes(rows)) {
      auto& list = reinterpret_cast<PairList*>(staged)[row];
      _mm512_store_si512(&list, _mm512_setzero_si512());
      _mm512_store_si512(reinterpret_cast<char*>(&list) + 64, _mm512_setzero_si512());
      uint64_t mask = 0;
      if (row < w.rows)
        mask = load_mask(w.bitmask + row * mask_bytes + b * kMarkBytes, mask_bytes - b * kMarkBytes);
      const auto low = static_cast<uint32_t>(mask), high = static_cast<uint32_t>(mask >> 32);
      const int64_t column = b * Shape::kInputs;
      int64_t count = append_groups<Values>(low, values, scales, column, 0, 0, list);
      values += __builtin_popcount(low) * Values::kBytes;
      count = append_groups<Values>(high, values, scales, column + 32, 8, count, list);
      values += __builtin_popcount(high) * Values::kBytes;
      next += __builtin_popcountll(mask);
      reinterpret_cast<uint8_t*>(reinterpret_cast<PairList*>(staged) + rows)[row] =
          static_cast<uint8_t>((count + 1) / 2);
    }
    return next;
  }

  static void sort_rows(char* staged, int64_t rows) {
    const auto* steps = reinterpret_cast<const uint8_t*>(reinterpret_cast<PairList*>(staged) + rows);
    auto* order = reinterpret_cast<uint8_t*>(reinterpret_cast<PairList*>(staged) + rows) + kMostRows;
    int32_t begin[kMostSteps + 2] = {};  // of the rows of so many steps, counted from the most
    for (int64_t r = 0; r < rows; ++r) ++begin[kMostSteps - steps[r] + 1];
    for (int64_t s = 1; s <= kMostSteps + 1; ++s) begin[s] += begin[s - 1];
    for (int64_t r = 0; r < rows; ++r) order[begin[kMostSteps - steps[r]]++] = static_cast<uint8_t>(r);
  }

  // The lists of two rows, two pairs of each at a time.
  template <int NV>
  static PRUNE_INLINE void multiply_two(const PairList* lists, const uint8_t* rows, int64_t steps,
                                        const char* block, float* tile) {
    const PairList* list[2] = {lists + rows[0], lists + rows[1]};
    __m512 acc[2][NV];
#pragma GCC unroll 2
    for (int r = 0; r < 2; ++r) load_sums(tile + rows[r] * Shape::kColumns, acc[r]);
    for (int64_t s = 0; s < steps; ++s) {
#pragma GCC unroll 2
      for (int r = 0; r < 2; ++r) {
        uint64_t pairs;
        uint16_t places;
        __builtin_memcpy(&pairs, list[r]->pairs + 2 * s, sizeof pairs);
        __builtin_memcpy(&places, list[r]->places + 2 * s, sizeof places);
        const __m512i both = _mm512_set1_epi64(static_cast<int64_t>(pairs));
        const int64_t first = places & 0xff, second = places >> 8;
        multiply_pair(_mm512_shuffle_epi32(both, _MM_PERM_CCAA), block + (first << Shape::kPairShift),
                      acc[r]);
        multiply_pair(_mm512_shuffle_epi32(both, _MM_PERM_DDBB), block + (second << Shape::kPairShift),
                      acc[r]);
      }
    }
#pragma GCC unroll 2
    for (int r = 0; r < 2; ++r) store_sums(acc[r], tile + rows[r] * Shape::kColumns);
  }
};

}  // namespace
}  // namespace prune::kernels
