#include "kernels/sparse/simd/pair_panel.h"
// The vector type comes first: the templates below are written against it.
#include "kernels/sparse/six_pairs/kernel.h"

namespace prune::kernels {
namespace {

constexpr int kColumns = 128;
constexpr int64_t kPairBytes = kColumns * 4;  // of a row of the panel, and of a pair of a group
// A block of twelve groups is 36 KB of pairs. More would crowd out the rest of the first-level cache, fewer
// would fetch and put back sums more often.
constexpr int64_t kGroups = 12;
constexpr int64_t kIndexBytes = kGroups / 2;
// Pair (i, j) lies i + 4 j places behind its group: at 4, 8, 9, 12, 13 or 14. Seven is the least distance of
// groups at which no two pairs meet, and being odd it spreads them over all sets of the cache.
constexpr int64_t kGroupBytes = 7 * kPairBytes;
constexpr int64_t kBlockBytes = (kGroups - 1) * kGroupBytes + 15 * kPairBytes;

// The six pairs of `groups` groups of the panel, rows of NV vectors.
template <int NV>
void make_pairs(const char* panel, int64_t groups, char* block) {
  const __m512i low = _mm512_set1_epi32(0xffff);
  for (int64_t g = 0; g < groups; ++g, panel += 2 * kPairBytes, block += kGroupBytes) {
    for (int v = 0; v < NV; ++v) {
      const __m512i x01 = _mm512_loadu_si512(panel + 64 * v);
      const __m512i x23 = _mm512_loadu_si512(panel + kPairBytes + 64 * v);
      const __m512i x1 = _mm512_srli_epi32(x01, 16), x2 = _mm512_slli_epi32(x23, 16);
      const auto put = [&](int i, int j, __m512i pair) {
        _mm512_store_si512(block + (i + 4 * j) * kPairBytes + 64 * v, pair);
      };
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

// The first `count` <= 24 values of a row's block as pairs of bf16, the others zero.
struct Bf16Pairs {
  static constexpr int64_t kBytes = 2;
  static PRUNE_INLINE __m512i load(const char* values, int64_t count) {
    return _mm512_maskz_loadu_epi16((uint32_t{1} << count) - 1, values);
  }
};
struct Int8Pairs {
  static constexpr int64_t kBytes = 1;
  static PRUNE_INLINE __m512i load(const char* values, int64_t count) {
    const __m256i v = _mm256_maskz_loadu_epi8((uint32_t{1} << count) - 1, values);
    const auto widen = [](__m128i bytes) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes)); };
    return (__m512i)_mm512_cvtne2ps_pbh(widen(_mm256_extracti128_si256(v, 1)),
                                        widen(_mm256_castsi256_si128(v)));
  }
};

// Of a block that the row has only a part of, the rest takes the first pair of its groups.
PRUNE_INLINE uint64_t load_indices(const uint8_t* p, int64_t groups) {
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

int64_t block_count(int64_t cols) { return (cols / 4 + kGroups - 1) / kGroups; }

// A block of the staged rows: the weights of each, then the indices of each. The line behind it keeps blocks
// from meeting in the same sets of the cache.
struct StagedRow {
  uint32_t pairs[16];
};
int64_t block_bytes(int64_t rows) {
  return rows * static_cast<int64_t>(sizeof(StagedRow)) + (rows * 8 + 63) / 64 * 64 + 64;
}
int64_t staged_bytes(int64_t rows, int64_t cols) { return block_count(cols) * block_bytes(rows); }

// tile[r][c] += the products of the block for R rows. The loads are written into the multiply-adds, and the
// weights are spread from a register, because loads are what is short: a vector of the block for every
// product is nearly all that two a cycle can bring. gcc would load them all first.
template <int R, int NV>
PRUNE_INLINE void multiply_rows(const StagedRow* weights, const uint64_t* indices, const char* block,
                                float* tile) {
  __m512i pairs[R];
  uint64_t word[R];
  __m512 acc[R][NV];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
    pairs[r] = _mm512_load_si512(weights + r);
    word[r] = indices[r];
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) acc[r][v] = _mm512_load_ps(tile + r * kColumns + 16 * v);
  }
#pragma GCC unroll 12
  for (int g = 0; g < kGroups; ++g) {
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      constexpr int kPlace = 9;  // kPairBytes is 2^9
      const uint64_t index = 4 * g >= kPlace ? word[r] >> (4 * g >= kPlace ? 4 * g - kPlace : 0)
                                             : word[r] << (4 * g < kPlace ? kPlace - 4 * g : 0);
      const char* pair = block + g * kGroupBytes + (index & uint64_t{15} << kPlace);
      const __m512i w = _mm512_permutexvar_epi32(_mm512_set1_epi32(g), pairs[r]);
#pragma GCC unroll 8
      for (int v = 0; v < NV; ++v) {
        __asm__("vdpbf16ps %1, %2, %0"
                : "+v"(acc[r][v])
                : "m"(*reinterpret_cast<const __m512i*>(pair + 64 * v)), "v"(w));
      }
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) _mm512_store_ps(tile + r * kColumns + 16 * v, acc[r][v]);
  }
}

template <class Values>
void stage_row(const char* values, const uint8_t* indices, int64_t cols, int64_t row, int64_t rows,
               char* staged) {
  for (int64_t left = cols / 4; left > 0; left -= kGroups) {
    const int64_t groups = left < kGroups ? left : kGroups;
    _mm512_store_si512(reinterpret_cast<StagedRow*>(staged) + row, Values::load(values, 2 * groups));
    reinterpret_cast<uint64_t*>(staged + rows * static_cast<int64_t>(sizeof(StagedRow)))[row] =
        load_indices(indices, groups);
    values += 2 * kGroups * Values::kBytes;
    indices += kIndexBytes;
    staged += block_bytes(rows);
  }
}

template <class Values>
void stage(const Nm24Rows& w, void* staged) {
  const int64_t rows = (w.rows + kRowsTogether - 1) / kRowsTogether * kRowsTogether;
  for (int64_t r = 0; r < rows; ++r) {
    // The last one again fills up.
    const int64_t from = r < w.rows ? r : w.rows - 1;
    stage_row<Values>(static_cast<const char*>(w.values) + from * (w.cols / 2 * Values::kBytes),
                      w.indices + from * w.index_bytes, w.cols, r, rows, static_cast<char*>(staged));
  }
}

template <int NV>
void multiply_panel(int64_t rows, int64_t cols, const char* staged, const char* panel, float* tile,
                    char* block) {
  constexpr int kRows = NV <= 4 ? 4 : 2;  // enough sums that none waits for the one before
  for (int64_t i = 0; i < rows * kColumns; i += 16) _mm512_store_ps(tile + i, _mm512_setzero_ps());
  for (int64_t left = cols / 4; left > 0; left -= kGroups, staged += block_bytes(rows)) {
    const int64_t groups = left < kGroups ? left : kGroups;
    // What stands in the places of groups that are not there is multiplied by zero: it must be a number.
    for (int64_t i = groups; i < kGroups; ++i) {
      for (int v = 0; v < NV; ++v)
        _mm512_store_si512(block + i * kGroupBytes + 4 * kPairBytes + 64 * v, _mm512_setzero_si512());
    }
    make_pairs<NV>(panel, groups, block);
    panel += 2 * kGroups * kPairBytes;
    const auto* weights = reinterpret_cast<const StagedRow*>(staged);
    const auto* indices = reinterpret_cast<const uint64_t*>(weights + rows);
    for (int64_t r = 0; r < rows; r += kRows)
      multiply_rows<kRows, NV>(weights + r, indices + r, block, tile + r * kColumns);
  }
}

void multiply(int64_t rows, int64_t cols, const void* staged, const void* panel, int64_t columns, float* tile,
              void* scratch) {
  rows = (rows + kRowsTogether - 1) / kRowsTogether * kRowsTogether;
  const auto* weights = static_cast<const char*>(staged);
  const auto* from = static_cast<const char*>(panel);
  auto* block = static_cast<char*>(scratch);
  switch ((columns + 31) / 32) {
    case 1:
      return multiply_panel<2>(rows, cols, weights, from, tile, block);
    case 2:
      return multiply_panel<4>(rows, cols, weights, from, tile, block);
    case 3:
      return multiply_panel<6>(rows, cols, weights, from, tile, block);
    default:
      return multiply_panel<8>(rows, cols, weights, from, tile, block);
  }
}

template <class Values>
constexpr SixPairsKernel kernel(const char* name, WeightType type) {
  return {.name = name,
          .type = type,
          .panel = make_pair_panel_code<kColumns, 32>(),
          .block_bytes = kBlockBytes,
          .staged_bytes = staged_bytes,
          .stage = stage<Values>,
          .multiply = multiply};
}

}  // namespace

constexpr SixPairsKernel six_pairs_bf16_avx512bf16 =
    kernel<Bf16Pairs>("six_pairs_bf16_avx512bf16", WeightType::kBf16);
constexpr SixPairsKernel six_pairs_i8_avx512bf16 =
    kernel<Int8Pairs>("six_pairs_i8_avx512bf16", WeightType::kI8);

}  // namespace prune::kernels
