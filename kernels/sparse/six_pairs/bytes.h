// int8 weights against rows of X in bytes. A product takes four inputs, so two groups meet: the pairs that a
// row keeps of them are unpacked to fours. Include only from files built with AVX-512 VNNI.
#pragma once

#include "kernels/sparse/simd/byte_panel.h"
#include "kernels/sparse/six_pairs/nm24.h"

namespace prune::kernels {
namespace {

// What a row of W keeps of a block: its weights, and its indices, a word for eight groups.
struct alignas(64) StagedBytes {
  int8_t weights[2 * ByteShape::kGroups];
  uint32_t nibbles[ByteShape::kGroups / 8];
};

// Groups that are not there take their first pair.
PRUNE_INLINE void stage_nibbles(const uint8_t* indices, int64_t groups, StagedBytes& to) {
  for (int64_t i = 0; i < ByteShape::kGroups / 8; ++i) {
    uint32_t word = 0x44444444;
    if (groups >= 8 * (i + 1)) {
      __builtin_memcpy(&word, indices + 4 * i, sizeof word);
    } else {
      for (int64_t g = 8 * i; g < groups; ++g) {
        const uint32_t nibble = indices[g / 2] >> (g % 2 * 4) & 15;
        word = (word & ~(uint32_t{15} << 4 * (g % 8))) | nibble << 4 * (g % 8);
      }
    }
    to.nibbles[i] = word;
  }
}

struct ByteFormat {
  using Shape = ByteShape;
  using Places = NibblePlaces<Shape::kGroups>;
  using Row = StagedBytes;
  static constexpr int64_t kSegmentBlocks = int64_t{1} << 32;  // see Nm24Format
  static constexpr int64_t kChunkRows = 256;
  // Where every row's sums begin.
  static constexpr int64_t kStateBytes = kChunkRows * sizeof(int32_t);

  static int64_t block_bytes(int64_t rows) { return rows * int64_t{sizeof(Row)} + 64; }

  static void stage(const Nm24Rows& w, const Blocks& blocks, void* staged) {
    const int64_t rows = (w.rows + kRowsTogether - 1) / kRowsTogether * kRowsTogether;
    auto* begins = static_cast<int32_t*>(staged);
    auto* first = reinterpret_cast<Row*>(static_cast<char*>(staged) + kStateBytes);
    for (int64_t r = 0; r < rows; ++r) {
      // The last one again fills up.
      const __m512i sums = stage_row(w, blocks, r < w.rows ? r : w.rows - 1, block_bytes(rows), first + r);
      begins[r] = -_mm512_reduce_add_epi32(sums);
    }
  }

  static void begin(const char* state, int64_t rows, float* tile) {
    for (int64_t r = 0; r < rows; ++r) {
      const __m512i sums = _mm512_set1_epi32(reinterpret_cast<const int32_t*>(state)[r]);
      for (int64_t c = 0; c < Shape::kColumns; c += 16)
        _mm512_store_si512(tile + r * Shape::kColumns + c, sums);
    }
  }

  template <int NV>
  static void multiply_block(const char* staged, int64_t rows, const char* block, float* tile) {
    constexpr int kRows = NV <= 4 ? 4 : 2;  // enough sums that none waits for the one before
    for (int64_t r = 0; r < rows; r += kRows)
      multiply_rows<kRows, NV>(reinterpret_cast<const Row*>(staged) + r, block, tile + r * Shape::kColumns);
  }

 private:
  // Returns what adds up to kByteZero times the row's weights.
  static __m512i stage_row(const Nm24Rows& w, const Blocks& blocks, int64_t row, int64_t distance, Row* to) {
    const char* values = static_cast<const char*>(w.values) + row * (w.cols / 2);
    const uint8_t* indices = w.indices + row * w.index_bytes;
    __m512i sums = _mm512_setzero_si512();
    for (int64_t b = blocks.first; b < blocks.first + blocks.count; ++b) {
      const int64_t left = w.cols / 4 - b * Shape::kGroups;
      const int64_t groups = left < Shape::kGroups ? left : Shape::kGroups;
      const __m512i v =
          _mm512_maskz_loadu_epi8((uint64_t{1} << 2 * groups) - 1, values + b * 2 * Shape::kGroups);
      sums = _mm512_dpbusd_epi32(sums, _mm512_set1_epi8(static_cast<char>(kByteZero)), v);
      _mm512_store_si512(to, v);
      stage_nibbles(indices + b * Shape::kMarkBytes, groups, *to);
      to = reinterpret_cast<Row*>(reinterpret_cast<char*>(to) + distance);
    }
    return sums;
  }

  // acc[v] += four weights, in every lane of w, times the inputs of two pairs.
  template <int NV>
  static PRUNE_INLINE void multiply_two_pairs(__m512i w, const char* pair0, const char* pair1,
                                              __m512i (&acc)[NV]) {
#pragma GCC unroll 4
    for (int v = 0; v < NV; v += 2) {
      __m512i a = _mm512_load_si512(pair0 + 32 * v), b = _mm512_load_si512(pair1 + 32 * v);
      __asm__("" : "+v"(a), "+v"(b));  // or both unpackings would load
      acc[v] = _mm512_dpbusd_epi32(acc[v], _mm512_unpacklo_epi16(a, b), w);
      acc[v + 1] = _mm512_dpbusd_epi32(acc[v + 1], _mm512_unpackhi_epi16(a, b), w);
    }
  }

  template <int R, int NV>
  static PRUNE_INLINE void multiply_rows(const Row* rows, const char* block, float* tile) {
    __m512i weights[R], acc[R][NV];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      weights[r] = _mm512_load_si512(rows + r);
      prefetch_ahead(rows + r);
#pragma GCC unroll 8
      for (int v = 0; v < NV; ++v) acc[r][v] = _mm512_load_si512(tile + r * Shape::kColumns + 16 * v);
    }
    multiply_eight<0>(rows, weights, block, acc);
    multiply_eight<1>(rows, weights, block, acc);
    multiply_eight<2>(rows, weights, block, acc);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < NV; ++v) _mm512_store_si512(tile + r * Shape::kColumns + 16 * v, acc[r][v]);
    }
  }

  // Eight groups from 8 Q on.
  template <int Q, int R, int NV>
  static PRUNE_INLINE void multiply_eight(const Row* rows, const __m512i (&weights)[R], const char* block,
                                          __m512i (&acc)[R][NV]) {
    __m512i four[R];
    uint64_t word[R];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      four[r] = _mm512_shuffle_i32x4(weights[r], weights[r], Q * 0x55);
      word[r] = rows[r].nibbles[Q];
    }
    const auto multiply_two_groups = [&]<int I>() __attribute__((always_inline)) {
      const auto pair = [&](int r, int g) __attribute__((always_inline)) {
        return block + (8 * Q + g) * Places::kDistance * Shape::kPairBytes +
               place_of<Shape::kPairShift>(word[r], g);
      };
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r)
        multiply_two_pairs(spread_lane<I>(four[r]), pair(r, 2 * I), pair(r, 2 * I + 1), acc[r]);
    };
    multiply_two_groups.template operator()<0>();
    multiply_two_groups.template operator()<1>();
    multiply_two_groups.template operator()<2>();
    multiply_two_groups.template operator()<3>();
  }
};

}  // namespace
}  // namespace prune::kernels
