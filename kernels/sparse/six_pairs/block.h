// A block of the panel, rewritten with the six pairs of every group of four inputs. Include only from files
// built with AVX-512 BF16.
#pragma once

#include "kernels/sparse/simd/pair_panel.h"
// The vector type comes first.
#include "kernels/sparse/six_pairs/kernel.h"

namespace prune::kernels {
namespace {

inline constexpr int kColumns = 128;
inline constexpr int kPairShift = 9;
inline constexpr int64_t kPairBytes = int64_t{1}
                                      << kPairShift;  // of a row of the panel, and of a pair of a group
// A block of twelve groups is 36 KB of pairs. More would crowd out the rest of the first-level cache, fewer
// would fetch and put back sums more often.
inline constexpr int64_t kGroups = 12;
static_assert(kBlockInputs == 4 * kGroups);
inline constexpr int64_t kMarkBytes = kGroups / 2;  // of a row of W: 2:4 indices, or a bitmask

// Where pairs lie is Places: pair (i, j) of a group at place(i, j) rows behind its own begin, groups
// kDistance rows apart.
template <class Places, int NV>
void make_pairs(const char* panel, int64_t groups, char* block) {
  const __m512i low = _mm512_set1_epi32(0xffff);
  for (int64_t g = 0; g < kGroups; ++g, panel += 2 * kPairBytes, block += Places::kDistance * kPairBytes) {
    for (int v = 0; v < NV; ++v) {
      const auto put = [&](int i, int j, __m512i pair) {
        _mm512_store_si512(block + Places::place(i, j) * kPairBytes + 64 * v, pair);
      };
      if (g >= groups) {
        // Of a group that is not there the first pair is multiplied by zero: it must be a number.
        put(0, 1, _mm512_setzero_si512());
        continue;
      }
      const __m512i x01 = _mm512_loadu_si512(panel + 64 * v);
      const __m512i x23 = _mm512_loadu_si512(panel + kPairBytes + 64 * v);
      const __m512i x1 = _mm512_srli_epi32(x01, 16), x2 = _mm512_slli_epi32(x23, 16);
      // The lower half of the first, the upper half of the second.
      const auto join = [&](__m512i a, __m512i b) { return _mm512_ternarylogic_epi32(low, a, b, 0xca); };
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

// tile = staged weights times the panel: Format::multiply_block<NV>(staged, rows, block, tile) for every
// block.
template <class Format, int NV>
void multiply_panel(int64_t rows, int64_t cols, const Blocks& blocks, const char* staged, const char* panel,
                    float* tile, char* block) {
  for (int64_t i = 0; blocks.first == 0 && i < rows * kColumns; i += 16)
    _mm512_store_ps(tile + i, _mm512_setzero_ps());
  panel += 2 * kGroups * kPairBytes * blocks.first;
  staged += Format::kStateBytes;
  for (int64_t b = blocks.first; b < blocks.first + blocks.count; ++b) {
    make_pairs<typename Format::Places, NV>(panel, (cols + 3) / 4 - b * kGroups, block);
    Format::template multiply_block<NV>(staged, rows, block, tile);
    panel += 2 * kGroups * kPairBytes;
    staged += Format::block_bytes(rows);
  }
}

template <class Format>
void multiply_columns(int64_t rows, int64_t cols, const Blocks& blocks, const void* staged, const void* panel,
                      int64_t columns, float* tile, void* scratch) {
  rows = (rows + kRowsTogether - 1) / kRowsTogether * kRowsTogether;
  const auto *weights = static_cast<const char*>(staged), *from = static_cast<const char*>(panel);
  auto* block = static_cast<char*>(scratch);
  switch ((columns + 31) / 32) {
    case 1:
      return multiply_panel<Format, 2>(rows, cols, blocks, weights, from, tile, block);
    case 2:
      return multiply_panel<Format, 4>(rows, cols, blocks, weights, from, tile, block);
    case 3:
      return multiply_panel<Format, 6>(rows, cols, blocks, weights, from, tile, block);
    default:
      return multiply_panel<Format, 8>(rows, cols, blocks, weights, from, tile, block);
  }
}

}  // namespace
}  // namespace prune::kernels
