// 2:4, staged once: rows of W that often choose the same pair are matched, two and two, in every block.
//
// Loads of pairs are what limits products. Two rows that agree on the pair of a group load its row of the
// block once for both:
//     shared groups    x                              one load for two products
//     the others       x of row 0, x of row 1         one each
// Of sixteen groups two random rows agree on 2.7, the best of 512 rows on 7.5.
#pragma once

#include "kernels/sparse/six_pairs/nm24.h"

namespace prune::kernels {
namespace {

// What two matched rows keep of a block, twice. Shared groups come first.
struct alignas(64) FourRows {
  uint32_t pairs[4][16];
  uint8_t places[2][32];  // of the shared groups, then of row 0 and row 1 in turn
};
static_assert(sizeof(FourRows) == 320);

template <class Values>
struct MatchedFormat {
  using Shape = Nm24Shape;
  using Places = DensePlaces<Shape::kGroups>;
  static constexpr int64_t kGroups = Shape::kGroups;
  static constexpr int64_t kMostRows = 512, kMostShared = 10;
  static constexpr Cut kInPlace = {};
  // One block of all panels after the other, so that the next comes from memory all the while.
  static constexpr Cut kOnce = {.chunk_rows = kMostRows, .segment_blocks = 1};
  static constexpr int64_t kStateBytes = 0;

  // Behind the rows of a block: which they are, and how many of the matches share so many groups or more.
  struct Order {
    uint16_t rows[kMostRows];
    uint16_t ends[kMostShared + 1];
  };
  // The line behind it keeps blocks from meeting in the same sets of the cache.
  static int64_t block_bytes(int64_t rows) {
    return rows / 4 * int64_t{sizeof(FourRows)} + (int64_t{sizeof(Order)} + 127) / 64 * 64;
  }

  static void stage(const Nm24Rows& w, const Blocks& blocks, void* staged) {
    const int64_t rows = (w.rows + kRowsTogether - 1) / kRowsTogether * kRowsTogether;
    auto* to = static_cast<char*>(staged);
    for (int64_t b = blocks.first; b < blocks.first + blocks.count; ++b, to += block_bytes(rows))
      stage_block(w, b, rows, to);
  }

  static void begin(const char* state, int64_t rows, float* tile) {
    zero_sums<MatchedFormat>(state, rows, tile);
  }

  template <int NV>
  static void multiply_block(const char* staged, int64_t rows, const char* block, const Panel& panel,
                             float* tile) {
    Ahead ahead{staged, share_of(sizeof(FourRows), panel)};
    ahead.bytes = block_bytes(rows) + panel.number * ahead.share * (rows / 4);
    multiply_matches<kMostShared, NV>(reinterpret_cast<const FourRows*>(staged), order_of(staged, rows), 0,
                                      block, tile, ahead);
  }

 private:
  static const Order& order_of(const char* staged, int64_t rows) {
    return *reinterpret_cast<const Order*>(staged + rows / 4 * int64_t{sizeof(FourRows)});
  }

  // Every panel asks for its share of the next block, a little with every four rows.
  struct Ahead {
    const char* staged;
    int64_t share, bytes = 0;
    PRUNE_INLINE void ask() {
      for (const int64_t end = bytes + share; bytes < end; bytes += 64) prefetch_behind(staged, bytes);
    }
  };

  // Groups of which the index nibbles are equal: none of the nibbles is zero.
  static int64_t count_equal(uint64_t a, uint64_t b) {
    uint64_t differ = a ^ b;
    differ |= differ >> 1;
    differ |= differ >> 2;
    return kGroups - __builtin_popcountll(differ & 0x1111111111111111);
  }

  static void stage_block(const Nm24Rows& w, int64_t b, int64_t rows, char* to) {
    uint64_t words[kMostRows], left[kMostRows];
    const int64_t present = w.cols / 4 - b * kGroups, groups = present < kGroups ? present : kGroups;
    for (int64_t r = 0; r < rows; ++r) {
      // The last one again fills up.
      const int64_t row = r < w.rows ? r : w.rows - 1;
      words[r] = left[r] = load_indices(w.indices + row * w.index_bytes + b * Shape::kMarkBytes, groups);
    }
    auto& order = const_cast<Order&>(order_of(to, rows));
    match(left, rows, order);
    auto* four = reinterpret_cast<FourRows*>(to);
    for (int64_t i = 0; i < rows; i += 2)
      stage_match(w, b, groups, words, order.rows + i, i % 4, four[i / 4]);
  }

  // The rows that agree most first. A row that has found another becomes a word that equals none.
  static void match(uint64_t* left, int64_t rows, Order& order) {
    int64_t found = 0;
    for (int64_t shared = kMostShared; shared >= 0; --shared) {
      for (int64_t i = 0; i < rows; ++i) {
        if (left[i] == 0) continue;
        for (int64_t j = i + 1; j < rows; ++j) {
          if (left[j] == 0 || count_equal(left[i], left[j]) < shared) continue;
          order.rows[2 * found] = static_cast<uint16_t>(i);
          order.rows[2 * found + 1] = static_cast<uint16_t>(j);
          left[i] = left[j] = 0;
          ++found;
          break;
        }
      }
      order.ends[shared] = static_cast<uint16_t>(found);
    }
  }

  static void stage_match(const Nm24Rows& w, int64_t b, int64_t groups, const uint64_t* words,
                          const uint16_t* rows, int64_t first, FourRows& to) {
    int order[kGroups];
    const int shared = order_groups(words[rows[0]], words[rows[1]], order);
    uint8_t* places = to.places[first / 2];
    for (int64_t i = 0; i < 2; ++i) {
      const int64_t row = rows[i] < w.rows ? rows[i] : w.rows - 1;
      const char* values =
          static_cast<const char*>(w.values) + (row * (w.cols / 2) + b * 2 * kGroups) * Values::kBytes;
      alignas(64) uint32_t pairs[16];
      _mm512_store_si512(pairs, Values::load(values, 2 * groups, scales_of(w, row), b * Shape::kInputs));
      for (int g = 0; g < kGroups; ++g) {
        to.pairs[first + i][g] = pairs[order[g]];
        const auto nibble = static_cast<int>(words[rows[i]] >> 4 * order[g] & 15);
        const auto place =
            static_cast<uint8_t>(order[g] * Places::kDistance + Places::place(nibble & 3, nibble >> 2));
        // A row's own and its partner's of a shared group are the same.
        places[g < shared ? g : 2 * g - shared + i] = place;
      }
    }
  }

  // Those that the two share first; no more than the code has.
  static int order_groups(uint64_t a, uint64_t b, int* order) {
    const auto agree = [&](int g) { return ((a ^ b) >> 4 * g & 15) == 0; };
    int shared = 0;
    for (int g = 0; g < kGroups; ++g) {
      if (agree(g) && shared < kMostShared) order[shared++] = g;
    }
    int count = shared, taken = 0;
    for (int g = 0; g < kGroups; ++g) {
      if (agree(g) && taken < shared)
        ++taken;
      else
        order[count++] = g;
    }
    return shared;
  }

  // The matches of Shared groups, then those of fewer: the processor foresees all but the ends.
  template <int Shared, int NV>
  static PRUNE_INLINE void multiply_matches(const FourRows* four, const Order& order, int64_t first,
                                            const char* block, float* tile, Ahead ahead) {
    const int64_t end = order.ends[Shared];
    for (int64_t i = first; i < end; ++i) {
      if (i % 2 == 0) ahead.ask();
      multiply_match<Shared, NV>(four[i / 2], i % 2, order.rows + 2 * i, block, tile);
    }
    if constexpr (Shared > 0) multiply_matches<Shared - 1, NV>(four, order, end, block, tile, ahead);
  }

  // So many sums of every vector that none waits for the one before.
  template <int NV>
  struct Sums {
    static constexpr int kSets = NV <= 2 ? 4 : 2;
    __m512 acc[2][kSets][NV];
  };

  template <int Shared, int NV>
  static PRUNE_INLINE void multiply_match(const FourRows& four, int64_t match, const uint16_t* rows,
                                          const char* block, float* tile) {
    float* to[2] = {tile + rows[0] * Shape::kColumns, tile + rows[1] * Shape::kColumns};
    Sums<NV> sums;
#pragma GCC unroll 2
    for (int r = 0; r < 2; ++r) {
      load_sums(to[r], sums.acc[r][0]);
#pragma GCC unroll 4
      for (int s = 1; s < Sums<NV>::kSets; ++s) {
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) sums.acc[r][s][v] = _mm512_setzero_ps();
      }
    }
    const __m512i pairs[2] = {_mm512_load_si512(four.pairs[2 * match]),
                              _mm512_load_si512(four.pairs[2 * match + 1])};
    const char* places = reinterpret_cast<const char*>(four.places[match]);
    multiply_four_groups<Shared, 0, NV>(pairs, places, block, sums);
    multiply_four_groups<Shared, 1, NV>(pairs, places, block, sums);
    multiply_four_groups<Shared, 2, NV>(pairs, places, block, sums);
    multiply_four_groups<Shared, 3, NV>(pairs, places, block, sums);
#pragma GCC unroll 2
    for (int r = 0; r < 2; ++r) {
#pragma GCC unroll 4
      for (int s = 1; s < Sums<NV>::kSets; ++s) {
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) sums.acc[r][0][v] = _mm512_add_ps(sums.acc[r][0][v], sums.acc[r][s][v]);
      }
      store_sums(sums.acc[r][0], to[r]);
    }
  }

  template <int Shared, int Q, int NV>
  static PRUNE_INLINE void multiply_four_groups(const __m512i (&pairs)[2], const char* places,
                                                const char* block, Sums<NV>& sums) {
    const __m512i four[2] = {_mm512_shuffle_i32x4(pairs[0], pairs[0], Q * 0x55),
                             _mm512_shuffle_i32x4(pairs[1], pairs[1], Q * 0x55)};
    multiply_group<Shared, 4 * Q, NV>(four, places, block, sums);
    multiply_group<Shared, 4 * Q + 1, NV>(four, places, block, sums);
    multiply_group<Shared, 4 * Q + 2, NV>(four, places, block, sums);
    multiply_group<Shared, 4 * Q + 3, NV>(four, places, block, sums);
  }

  template <int Shared, int G, int NV>
  static PRUNE_INLINE void multiply_group(const __m512i (&four)[2], const char* places, const char* block,
                                          Sums<NV>& sums) {
    auto& acc0 = sums.acc[0][G % Sums<NV>::kSets];
    auto& acc1 = sums.acc[1][G % Sums<NV>::kSets];
    const __m512i w0 = spread_lane<G % 4>(four[0]), w1 = spread_lane<G % 4>(four[1]);
    if constexpr (G < Shared) {
      const char* pair = block + offset_of<G>(places);
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) {
        __m512i x = _mm512_load_si512(pair + 64 * v);
        // One load for both: gcc would fold it into each.
        __asm__("" : "+v"(x));
        acc0[v] = dot_pairs(acc0[v], w0, x);
        acc1[v] = dot_pairs(acc1[v], w1, x);
      }
    } else {
      multiply_pair(w0, block + offset_of<2 * G - Shared>(places), acc0);
      multiply_pair(w1, block + offset_of<2 * G - Shared + 1>(places), acc1);
    }
  }

  // From the beginning of the block to place I of the list. Eight places are one load.
  template <int I>
  static PRUNE_INLINE uint64_t offset_of(const char* places) {
    uint64_t word;
    __builtin_memcpy(&word, places + I / 8 * 8, sizeof word);
    constexpr int kUp = Shape::kPairShift - I % 8 * 8;
    return (kUp > 0 ? word << (kUp > 0 ? kUp : 0) : word >> (kUp > 0 ? 0 : -kUp)) & uint64_t{255}
                                                                                        << Shape::kPairShift;
  }
};

}  // namespace
}  // namespace prune::kernels
