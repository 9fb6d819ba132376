// A block of the panel, rewritten with the six pairs of every group of four inputs. Include only from files
// built with AVX-512 BF16.
#pragma once

#include "kernels/sparse/simd/pair_panel.h"
// The vector type comes first.
#include "kernels/sparse/six_pairs/kernel.h"

namespace prune::kernels {
namespace {

// 24 to 36 KB of pairs. More would crowd out the rest of the first-level cache, less would fetch and put back
// sums more often.
template <int Columns, int Groups>
struct BlockShape {
  static constexpr int kColumns = Columns;
  static constexpr int64_t kGroups = Groups, kInputs = 4 * kGroups;
  static constexpr int64_t kMarkBytes = kGroups / 2;  // of a row of W: 2:4 indices, or a bitmask
  // Of a pair of a group, and of half a group of the panel.
  static constexpr int64_t kPairBytes = int64_t{4} * Columns;
  static constexpr int kPairShift = __builtin_ctz(kPairBytes);
  static_assert(kPairBytes == int64_t{1} << kPairShift);
};

using Nm24Shape = BlockShape</*Columns=*/64, /*Groups=*/16>;
using ListShape = BlockShape</*Columns=*/128, /*Groups=*/12>;

// Where pairs lie without gaps.
template <int64_t Groups>
struct DensePlaces {
  static constexpr int64_t kDistance = 6;
  static constexpr int64_t kRows = Groups * kDistance;
  static constexpr int64_t place(int i, int j) { return i == 0 ? j - 1 : i + j; }
};

// Vectors vectors of every pair. Where pairs lie is Places: pair (i, j) of a group at place(i, j) rows behind
// its own begin, groups kDistance rows apart.
template <class Shape, class Places, int Vectors>
void make_pairs(const char* panel, int64_t groups, char* block) {
  constexpr int64_t kBytes = Shape::kPairBytes;
  const __m512i lower = _mm512_set1_epi32(0xffff);
  for (int64_t g = 0; g < Shape::kGroups; ++g, panel += 2 * kBytes, block += Places::kDistance * kBytes) {
    for (int v = 0; v < Vectors; ++v) {
      const auto put = [&](int i, int j, __m512i pair) {
        _mm512_store_si512(block + Places::place(i, j) * kBytes + 64 * v, pair);
      };
      if (g >= groups) {
        // Of a group that is not there the first pair is multiplied by zero: it must be a number.
        put(0, 1, _mm512_setzero_si512());
        continue;
      }
      const __m512i x01 = _mm512_loadu_si512(panel + 64 * v);
      const __m512i x23 = _mm512_loadu_si512(panel + kBytes + 64 * v);
      const __m512i x1 = _mm512_srli_epi32(x01, 16), x2 = _mm512_slli_epi32(x23, 16);
      // The lower half of the first, the upper half of the second.
      const auto join = [&](__m512i a, __m512i b) { return _mm512_ternarylogic_epi32(lower, a, b, 0xca); };
      put(0, 1, x01);
      put(0, 2, join(x01, x2));
      put(0, 3, join(x01, x23));
      put(1, 2, join(x1, x2));
      put(1, 3, join(x1, x23));
      put(2, 3, x23);
    }
  }
}

// acc[v] += a pair of weights, in every lane of w, times row v of the pair's inputs. The load is written into
// the multiply-add, because loads are what is short: a vector of the block for every product is nearly all
// that two a cycle can bring, and gcc would load them all first.
template <int NV>
PRUNE_INLINE void multiply_pair(__m512i w, const char* pair, __m512 (&acc)[NV]) {
#pragma GCC unroll 8
  for (int v = 0; v < NV; ++v) {
    __asm__("vdpbf16ps %1, %2, %0"
            : "+v"(acc[v])
            : "m"(*reinterpret_cast<const __m512i*>(pair + 64 * v)), "v"(w));
  }
}

// Lane I of every 128 bits to all four.
template <int I>
PRUNE_INLINE __m512i spread_lane(__m512i four) {
  return _mm512_shuffle_epi32(four, static_cast<_MM_PERM_ENUM>(I * 0x55));
}

template <int NV>
PRUNE_INLINE void load_sums(const float* tile, __m512 (&acc)[NV]) {
#pragma GCC unroll 8
  for (int v = 0; v < NV; ++v) acc[v] = _mm512_load_ps(tile + 16 * v);
}
template <int NV>
PRUNE_INLINE void store_sums(const __m512 (&acc)[NV], float* tile) {
#pragma GCC unroll 8
  for (int v = 0; v < NV; ++v) _mm512_store_ps(tile + 16 * v, acc[v]);
}

// The share of the next blocks that a panel asks for with every so many bytes of this one, in whole lines.
PRUNE_INLINE int64_t share_of(int64_t bytes, const Panel& panel) {
  return (bytes / panel.count + 63) / 64 * 64;
}

template <class Format>
void zero_sums(const char* /*state*/, int64_t rows, float* tile) {
  for (int64_t i = 0; i < rows * Format::Shape::kColumns; i += 16)
    _mm512_store_ps(tile + i, _mm512_setzero_ps());
}

// tile = staged weights times the panel, NV vectors of sums wide: Format::begin(state, rows, tile), then
// Format::multiply_block<NV>(staged, rows, block, panel, tile) for every block.
template <class Format, int NV>
void multiply_panel(int64_t rows, int64_t cols, const Blocks& blocks, const char* staged, const Panel& panel,
                    float* tile, char* block) {
  using Shape = typename Format::Shape;
  constexpr int64_t kPanelBytes = 2 * Shape::kGroups * Shape::kPairBytes;
  if (blocks.first == 0) Format::begin(staged, rows, tile);
  const char* inputs = static_cast<const char*>(panel.data) + kPanelBytes * blocks.first;
  staged += Format::kStateBytes;
  for (int64_t b = blocks.first; b < blocks.first + blocks.count; ++b) {
    make_pairs<Shape, typename Format::Places, NV>(inputs, (cols + 3) / 4 - b * Shape::kGroups, block);
    Format::template multiply_block<NV>(staged, rows, block, panel, tile);
    inputs += kPanelBytes;
    staged += Format::block_bytes(rows);
  }
}

// Picks the code for the number of vectors that the columns fill, two by two.
template <class Format, int NV = Format::Shape::kColumns / 16>
void multiply_columns(int64_t rows, int64_t cols, const Blocks& blocks, const void* staged,
                      const Panel& panel, float* tile, void* block) {
  if constexpr (NV > 2) {
    if (panel.columns <= 16 * (NV - 2))
      return multiply_columns<Format, NV - 2>(rows, cols, blocks, staged, panel, tile, block);
  }
  rows = (rows + kRowsTogether - 1) / kRowsTogether * kRowsTogether;
  multiply_panel<Format, NV>(rows, cols, blocks, static_cast<const char*>(staged), panel, tile,
                             static_cast<char*>(block));
}

}  // namespace
}  // namespace prune::kernels
