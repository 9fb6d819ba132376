// 2:4, staged for every batch: of every group one pair.
#pragma once

#include "kernels/sparse/simd/column_scales.h"
#include "kernels/sparse/simd/prefetch.h"
#include "kernels/sparse/six_pairs/block.h"

namespace prune::kernels {
namespace {

// Sixteen pairs of bf16, or thirty-two values, of the 64 columns from `column` on: the first `count` of
// `values`, zeros behind them.
struct Bf16Values {
  static constexpr int64_t kBytes = 2;
  static PRUNE_INLINE __m512i load(const char* values, int64_t count, const ColumnScales&, int64_t) {
    return _mm512_maskz_loadu_epi16(first_bits(count), values);
  }
  // To the places that the mask names, of the 32 columns from `column` on.
  static PRUNE_INLINE __m512i expand(uint32_t mask, const char* values, const ColumnScales& scales,
                                     int64_t column) {
    return _mm512_mask_expand_epi16(fresh_zero(), mask,
                                    load(values, __builtin_popcount(mask), scales, column));
  }
  static PRUNE_INLINE uint32_t first_bits(int64_t count) {
    return static_cast<uint32_t>((uint64_t{1} << count) - 1);
  }
};
struct Int8Values {
  static constexpr int64_t kBytes = 1;
  static PRUNE_INLINE __m512i load(const char* values, int64_t count, const ColumnScales&, int64_t) {
    const __m256i v = load_bytes(values, count);
    return round(widen_upper(v), widen_lower(v));
  }
  static PRUNE_INLINE __m512i expand(uint32_t mask, const char* values, const ColumnScales&, int64_t) {
    const __m256i v = expand_bytes(mask, values);
    return round(widen_upper(v), widen_lower(v));
  }

 protected:
  static PRUNE_INLINE __m256i load_bytes(const char* values, int64_t count) {
    return _mm256_maskz_loadu_epi8(Bf16Values::first_bits(count), values);
  }
  static PRUNE_INLINE __m256i expand_bytes(uint32_t mask, const char* values) {
    const __m256i v = load_bytes(values, __builtin_popcount(mask));
    return _mm512_castsi512_si256(_mm512_mask_expand_epi8(fresh_zero(), mask, _mm512_castsi256_si512(v)));
  }
  static PRUNE_INLINE __m512 widen_lower(__m256i v) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm256_castsi256_si128(v)));
  }
  static PRUNE_INLINE __m512 widen_upper(__m256i v) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm256_extracti128_si256(v, 1)));
  }
  static PRUNE_INLINE __m512i round(__m512 upper, __m512 lower) {
    return (__m512i)_mm512_cvtne2ps_pbh(upper, lower);
  }
};
// Times the scales of their groups of columns, of which blocks begin at a multiple of 16.
struct ScaledInt8Values : Int8Values {
  static PRUNE_INLINE __m512i load(const char* values, int64_t count, const ColumnScales& scales,
                                   int64_t column) {
    const __m256i v = load_bytes(values, count);
    return round(_mm512_mul_ps(widen_upper(v), scales.at(column + 32, column + 48)),
                 _mm512_mul_ps(widen_lower(v), scales.at(column, column + 16)));
  }
  static PRUNE_INLINE __m512i expand(uint32_t mask, const char* values, const ColumnScales& scales,
                                     int64_t column) {
    const __m256i v = expand_bytes(mask, values);
    return round(_mm512_mul_ps(widen_upper(v), scales.at(column + 16)),
                 _mm512_mul_ps(widen_lower(v), scales.at(column)));
  }
};

template <class Rows>
PRUNE_INLINE ColumnScales scales_of(const Rows& w, int64_t row) {
  return {{w.scales.row + row * w.scales_stride, w.scales.shift}, w.cols};
}

// The index nibble of a group is i + 4 j: at 4, 8, 9, 12, 13 or 14. Seven is the least distance of groups at
// which no two pairs meet, and being odd it spreads them over all sets of the cache.
template <int64_t Groups>
struct NibblePlaces {
  static constexpr int64_t kDistance = 7;
  static constexpr int64_t kRows = (Groups - 1) * kDistance + 15;
  static constexpr int64_t place(int i, int j) { return i + 4 * j; }
};

// Where the pair of group g of a word of nibbles lies, behind the place of pair 0 of that group.
template <int Shift>
PRUNE_INLINE uint64_t place_of(uint64_t word, int g) {
  const int up = Shift - 4 * g;
  return (up > 0 ? word << (up > 0 ? up : 0) : word >> (up > 0 ? 0 : -up)) & uint64_t{15} << Shift;
}

// Groups that are not there take their first pair.
PRUNE_INLINE uint64_t load_indices(const uint8_t* p, int64_t groups) {
  uint64_t word = 0x4444444444444444;
  if (groups == Nm24Shape::kGroups) {
    __builtin_memcpy(&word, p, sizeof word);
    return word;
  }
  for (int64_t g = 0; g < groups; ++g) {
    const uint64_t nibble = p[g / 2] >> (g % 2 * 4) & 15;
    word = (word & ~(uint64_t{15} << 4 * g)) | nibble << 4 * g;
  }
  return word;
}

// What so many rows keep of a block.
inline constexpr int64_t kStagedRows = 8;
struct alignas(64) StagedRows {
  uint32_t pairs[kStagedRows][16];
  uint64_t indices[kStagedRows];
};

template <class Values>
struct Nm24Format {
  using Shape = Nm24Shape;
  using Places = NibblePlaces<Shape::kGroups>;
  static constexpr int64_t kGroups = Shape::kGroups;
  // What is staged of them stays in the second-level cache beside the sums of all panels.
  static constexpr Cut kInPlace = {.chunk_rows = 256, .segment_blocks = 16};
  static constexpr Cut kOnce = {};
  static constexpr int64_t kStateBytes = 0;  // before the staged blocks

  // The line behind it keeps blocks from meeting in the same sets of the cache.
  static int64_t block_bytes(int64_t rows) { return rows / kStagedRows * int64_t{sizeof(StagedRows)} + 64; }

  static void stage(const Nm24Rows& w, const Blocks& blocks, void* staged) {
    const int64_t rows = (w.rows + kRowsTogether - 1) / kRowsTogether * kRowsTogether;
    for (int64_t r = 0; r < rows; ++r) {
      // The last one again fills up.
      stage_row(w, blocks, r < w.rows ? r : w.rows - 1, r % kStagedRows, block_bytes(rows),
                static_cast<StagedRows*>(staged) + r / kStagedRows);
    }
  }

  static void begin(const char* state, int64_t rows, float* tile) {
    zero_sums<Nm24Format>(state, rows, tile);
  }

  template <int NV>
  static void multiply_block(const char* staged, int64_t rows, const char* block, const Panel& /*panel*/,
                             float* tile) {
    constexpr int kRows = NV <= 2 ? 8 : 4;  // enough sums that none waits for the one before
    const auto* eight = reinterpret_cast<const StagedRows*>(staged);
    for (int64_t r = 0; r < rows; r += kStagedRows, ++eight) {
      for (int64_t i = 0; i < kStagedRows; i += kRows)
        multiply_rows<kRows, NV>(*eight, i, block, tile + (r + i) * Shape::kColumns);
    }
  }

 private:
  static constexpr int64_t kRowsAhead = 4;

  static void stage_row(const Nm24Rows& w, const Blocks& blocks, int64_t row, int64_t place, int64_t distance,
                        StagedRows* to) {
    const char* values = static_cast<const char*>(w.values) + row * (w.cols / 2 * Values::kBytes);
    const uint8_t* indices = w.indices + row * w.index_bytes;
    const ColumnScales scales = scales_of(w, row);
    for (int64_t b = blocks.first; b < blocks.first + blocks.count; ++b) {
      const int64_t left = w.cols / 4 - b * kGroups, groups = left < kGroups ? left : kGroups;
      // Strips of rows are too short to be foreseen.
      prefetch_behind(values, (b * 2 * kGroups + kRowsAhead * w.cols / 2) * Values::kBytes);
      prefetch_behind(indices, b * Shape::kMarkBytes + kRowsAhead * w.index_bytes);
      _mm512_store_si512(to->pairs[place], Values::load(values + b * (2 * kGroups * Values::kBytes),
                                                        2 * groups, scales, b * Shape::kInputs));
      to->indices[place] = load_indices(indices + b * Shape::kMarkBytes, groups);
      to = reinterpret_cast<StagedRows*>(reinterpret_cast<char*>(to) + distance);
    }
  }

  // Weights are spread from a register, and addresses cut from one: the slots of loads go to the block.
  template <int R, int NV>
  static PRUNE_INLINE void multiply_rows(const StagedRows& rows, int64_t first, const char* block,
                                         float* tile) {
    __m512i pairs[R];
    uint64_t words[R];
    __m512 acc[R][NV];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      pairs[r] = _mm512_load_si512(rows.pairs[first + r]);
      words[r] = rows.indices[first + r];
      load_sums(tile + r * Shape::kColumns, acc[r]);
    }
    multiply_four_groups<0>(pairs, words, block, acc);
    multiply_four_groups<1>(pairs, words, block, acc);
    multiply_four_groups<2>(pairs, words, block, acc);
    multiply_four_groups<3>(pairs, words, block, acc);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) store_sums(acc[r], tile + r * Shape::kColumns);
  }

  // Shuffles within 128 bits find a port besides those of the products; others take one of theirs.
  template <int Q, int R, int NV>
  static PRUNE_INLINE void multiply_four_groups(const __m512i (&pairs)[R], const uint64_t (&words)[R],
                                                const char* block, __m512 (&acc)[R][NV]) {
    __m512i four[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) four[r] = _mm512_shuffle_i32x4(pairs[r], pairs[r], Q * 0x55);
    const auto multiply_group = [&]<int I>() __attribute__((always_inline)) {
      constexpr int kGroup = 4 * Q + I;
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        multiply_pair(spread_lane<I>(four[r]),
                      block + kGroup * Places::kDistance * Shape::kPairBytes +
                          place_of<Shape::kPairShift>(words[r], kGroup),
                      acc[r]);
      }
    };
    multiply_group.template operator()<0>();
    multiply_group.template operator()<1>();
    multiply_group.template operator()<2>();
    multiply_group.template operator()<3>();
  }
};

}  // namespace
}  // namespace prune::kernels
