// 2:4: of every group one pair.
#pragma once

#include "kernels/sparse/simd/column_scales.h"
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

// A block of the staged rows: the pairs of each, then the indices of each. The line behind it keeps blocks
// from meeting in the same sets of the cache.
struct StagedPairs {
  uint32_t pairs[16];
};

template <class Values>
struct Nm24Format {
  using Shape = Bf16Shape;
  using Places = NibblePlaces<Shape::kGroups>;
  static constexpr int64_t kGroups = Shape::kGroups;
  static constexpr int64_t kChunkRows = 256;
  // All: a few wide strips of a row at a time are slower to read than what is staged is to read again.
  static constexpr int64_t kSegmentBlocks = int64_t{1} << 32;
  static constexpr int64_t kStateBytes = 0;  // before the staged blocks

  static int64_t block_bytes(int64_t rows) {
    return rows * static_cast<int64_t>(sizeof(StagedPairs)) + (rows * 8 + 63) / 64 * 64 + 64;
  }

  static void stage(const Nm24Rows& w, const Blocks& blocks, void* staged) {
    const int64_t rows = (w.rows + kRowsTogether - 1) / kRowsTogether * kRowsTogether;
    for (int64_t r = 0; r < rows; ++r) {
      // The last one again fills up.
      stage_row(w, blocks, r < w.rows ? r : w.rows - 1, rows,
                static_cast<char*>(staged) + r * sizeof(StagedPairs),
                static_cast<char*>(staged) + rows * sizeof(StagedPairs) + r * sizeof(uint64_t));
    }
  }

  static void begin(const char* state, int64_t rows, float* tile) {
    zero_sums<Nm24Format>(state, rows, tile);
  }

  template <int NV>
  static void multiply_block(const char* staged, int64_t rows, const char* block, float* tile) {
    constexpr int kRows = NV <= 4 ? 4 : 2;  // enough sums that none waits for the one before
    const auto* pairs = reinterpret_cast<const StagedPairs*>(staged);
    const auto* indices = reinterpret_cast<const uint64_t*>(pairs + rows);
    for (int64_t r = 0; r < rows; r += kRows)
      multiply_rows<kRows, NV>(pairs + r, indices + r, block, tile + r * Shape::kColumns);
  }

 private:
  static void stage_row(const Nm24Rows& w, const Blocks& blocks, int64_t row, int64_t rows, char* pairs,
                        char* words) {
    const char* values = static_cast<const char*>(w.values) + row * (w.cols / 2 * Values::kBytes);
    const uint8_t* indices = w.indices + row * w.index_bytes;
    const ColumnScales scales = scales_of(w, row);
    for (int64_t b = blocks.first; b < blocks.first + blocks.count; ++b) {
      const int64_t left = w.cols / 4 - b * kGroups, groups = left < kGroups ? left : kGroups;
      _mm512_store_si512(pairs, Values::load(values + b * (2 * kGroups * Values::kBytes), 2 * groups, scales,
                                             b * Shape::kInputs));
      const uint64_t word = load_indices(indices + b * Shape::kMarkBytes, groups);
      __builtin_memcpy(words, &word, sizeof word);
      pairs += block_bytes(rows);
      words += block_bytes(rows);
    }
  }

  // Groups that are not there take their first pair.
  static PRUNE_INLINE uint64_t load_indices(const uint8_t* p, int64_t groups) {
    uint64_t word = 0x4444444444444444;
    if (groups == kGroups) {
      uint32_t first;
      uint16_t last;
      __builtin_memcpy(&first, p, sizeof first);
      __builtin_memcpy(&last, p + sizeof first, sizeof last);
      return first | uint64_t{last} << 32;
    }
    for (int64_t g = 0; g < groups; ++g) {
      const uint64_t nibble = p[g / 2] >> (g % 2 * 4) & 15;
      word = (word & ~(uint64_t{15} << 4 * g)) | nibble << 4 * g;
    }
    return word;
  }

  // Weights are spread from a register, and addresses cut from one: the slots of loads go to the block.
  template <int R, int NV>
  static PRUNE_INLINE void multiply_rows(const StagedPairs* weights, const uint64_t* indices,
                                         const char* block, float* tile) {
    __m512i pairs[R];
    uint64_t word[R];
    __m512 acc[R][NV];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      pairs[r] = _mm512_load_si512(weights + r);
      word[r] = indices[r];
      load_sums(tile + r * Shape::kColumns, acc[r]);
    }
#pragma GCC unroll 12
    for (int g = 0; g < kGroups; ++g) {
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) {
        multiply_pair(
            _mm512_permutexvar_epi32(_mm512_set1_epi32(g), pairs[r]),
            block + g * Places::kDistance * Shape::kPairBytes + place_of<Shape::kPairShift>(word[r], g),
            acc[r]);
      }
    }
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) store_sums(acc[r], tile + r * Shape::kColumns);
  }
};

}  // namespace
}  // namespace prune::kernels
