#include <immintrin.h>

#include "kernels/sparse/in_place/kernel.h"
#include "kernels/sparse/simd/avx512bf16.h"
#include "kernels/sparse/simd/column_scales.h"
#include "kernels/sparse/simd/prefetch.h"

namespace prune::kernels {
namespace {

constexpr int64_t kMostMarks = 16;  // bytes of a chunk: a bit, or half a 2:4 index, for each of its weights

// Words 0 .. 31: Step * (l / Every). Constants, because gcc 12 misaligns objects that hold vectors on a stack
// that ASan watches.
template <int Every, int Step>
struct WordRamp {
  alignas(64) uint16_t words[32];
  constexpr WordRamp() : words() {
    for (int l = 0; l < 32; ++l) words[l] = static_cast<uint16_t>(l / Every * Step);
  }
};
constexpr WordRamp<1, 2> kShifts;
constexpr WordRamp<2, 4> kGroups;

PRUNE_INLINE uint64_t load_word(const uint8_t* p) {
  uint64_t word;
  __builtin_memcpy(&word, p, sizeof word);
  return word;
}

PRUNE_INLINE uint64_t first_bits(int64_t count) {
  return count >= 64 ? ~uint64_t{0} : (uint64_t{1} << count) - 1;
}

// Registers of 32 weights: one of bf16, or two of what 64 int8 widen to.
struct Bf16Values {
  using Value = uint16_t;
  static constexpr int kHalves = 1;
  PRUNE_INLINE static __m512i load(const Value* p) { return _mm512_loadu_si512(p); }
  PRUNE_INLINE static __m512i load(const Value* p, int64_t count) {
    return _mm512_maskz_loadu_epi16(static_cast<__mmask32>(first_bits(count)), p);
  }
  PRUNE_INLINE static __m512i expand(uint64_t mask, __m512i v) {
    return _mm512_mask_expand_epi16(fresh_zero(), static_cast<__mmask32>(mask), v);
  }
  PRUNE_INLINE void widen(__m512i v, __m512i (&w)[1]) const { w[0] = v; }
};
struct Int8Values {
  using Value = uint8_t;
  static constexpr int kHalves = 2;
  TwosComplement decoder;
  PRUNE_INLINE static __m512i load(const Value* p) { return _mm512_loadu_si512(p); }
  PRUNE_INLINE static __m512i load(const Value* p, int64_t count) {
    return _mm512_maskz_loadu_epi8(first_bits(count), p);
  }
  PRUNE_INLINE static __m512i expand(uint64_t mask, __m512i v) {
    return _mm512_mask_expand_epi8(fresh_zero(), mask, v);
  }
  PRUNE_INLINE void widen(__m512i v, __m512i (&w)[2]) const { decoder.widen(v, w); }
};

// acc + scale * (inputs . w); a scale of the whole row is left to the frame.
template <bool kScaled>
PRUNE_INLINE __m512 add_product(__m512 acc, __m512i inputs, __m512i w, __m512 scale) {
  if constexpr (!kScaled) return dot_pairs(acc, inputs, w);
  return _mm512_fmadd_ps(dot_pairs(_mm512_setzero_ps(), inputs, w), scale, acc);
}

// Word l of a register of values takes input 4 (l / 2) + index l of its 64: vpmultishiftqb brings the two
// bits of every word's index to its bottom, one vpermi2w fetches the inputs.
template <class Values>
struct Nm24 : Values {
  using Value = typename Values::Value;
  static constexpr int kHalves = Values::kHalves;
  static constexpr int64_t kChunk = 64 * kHalves;
  static constexpr bool kAsksByLevels = true;

  // Inputs that may be multiplied before a load reaches beyond the array.
  static int64_t safe(const PackedRow&, int64_t cols) { return cols; }
  // How many values a chunk takes.
  PRUNE_INLINE static int64_t taken(const uint8_t*, int64_t left) {
    return (left < kChunk ? left : kChunk) / 2;
  }

  template <bool kScaled, int B>
  PRUNE_INLINE void add(__m512i v, const uint8_t* marks, const uint16_t* x, int64_t x_stride,
                        const ColumnScales& scales, int64_t column, __m512 (&acc)[B]) const {
    const __m512i shifts = _mm512_load_si512(kShifts.words), groups = _mm512_load_si512(kGroups.words);
    const __m512i three = _mm512_set1_epi16(3);
    __m512i w[kHalves];
    this->widen(v, w);
#pragma GCC unroll 2
    for (int h = 0; h < kHalves; ++h) {
      const __m512i indices = _mm512_set1_epi64(static_cast<int64_t>(load_word(marks + 8 * h)));
      const __m512i lane =
          _mm512_ternarylogic_epi32(_mm512_multishift_epi64_epi8(shifts, indices), three, groups, 0xea);
      // Lanes 0 to 7 are sums of the first 32 of 64 columns.
      const int64_t first = column + 64 * h;
      const __m512 scale = kScaled ? scales.at(first, first + 32) : _mm512_setzero_ps();
#pragma GCC unroll 4
      for (int i = 0; i < B; ++i) {
        const uint16_t* in = x + i * x_stride + 64 * h;
        const __m512i gathered =
            _mm512_permutex2var_epi16(_mm512_loadu_si512(in), lane, _mm512_loadu_si512(in + 32));
        acc[i] = add_product<kScaled>(acc[i], gathered, w[h], scale);
      }
    }
  }
};

// The next values, spread to the places that the mask names.
template <class Values>
struct Bitmask : Values {
  using Value = typename Values::Value;
  static constexpr int kHalves = Values::kHalves;
  static constexpr int64_t kChunk = 32 * kHalves;
  static constexpr bool kAsksByLevels = false;

  // A load takes as many values as a chunk has weights.
  static int64_t safe(const PackedRow& row, int64_t cols) {
    return row.values_left < cols ? row.values_left : cols;
  }
  PRUNE_INLINE static uint64_t mask_of(const uint8_t* marks) {
    if constexpr (kHalves == 2) return load_word(marks);
    uint32_t mask;
    __builtin_memcpy(&mask, marks, sizeof mask);
    return mask;
  }
  PRUNE_INLINE static int64_t taken(const uint8_t* marks, int64_t) {
    return __builtin_popcountll(mask_of(marks));
  }

  template <bool kScaled, int B>
  PRUNE_INLINE void add(__m512i v, const uint8_t* marks, const uint16_t* x, int64_t x_stride,
                        const ColumnScales& scales, int64_t column, __m512 (&acc)[B]) const {
    __m512i w[kHalves];
    this->widen(Values::expand(mask_of(marks), v), w);
#pragma GCC unroll 2
    for (int h = 0; h < kHalves; ++h) {
      const __m512 scale = kScaled ? scales.at(column + 32 * h) : _mm512_setzero_ps();
#pragma GCC unroll 4
      for (int i = 0; i < B; ++i) {
        acc[i] = add_product<kScaled>(acc[i], _mm512_loadu_si512(x + i * x_stride + 32 * h), w[h], scale);
      }
    }
  }
};

// B rows of X. Chunks take turns with kSets sums, so that none waits for the one before.
template <class Format, bool kScaled, int B>
void multiply_batch(const PackedRow& row, int64_t cols, const uint16_t* x, int64_t x_stride, float* sums,
                    int64_t sums_stride) {
  constexpr int kSets = 4 / B;
  constexpr int64_t kChunk = Format::kChunk, kStep = kSets * kChunk, kMarks = kChunk / 8;
  const Format format;
  const AheadByLevels<Format::kAsksByLevels && B <= 2> ahead;
  const ColumnScales scales(row.scales, cols);
  const auto* values = static_cast<const typename Format::Value*>(row.values);
  const uint8_t* marks = row.marks;
  __m512 acc[kSets][B];
#pragma GCC unroll 4
  for (int s = 0; s < kSets; ++s) {
#pragma GCC unroll 4
    for (int i = 0; i < B; ++i) acc[s][i] = _mm512_setzero_ps();
  }
  int64_t k = 0;
  for (const int64_t safe = Format::safe(row, cols); k + kStep <= safe; k += kStep, x += kStep) {
    ahead.ask_for(marks);
#pragma GCC unroll 4
    for (int s = 0; s < kSets; ++s, marks += kMarks) {
      ahead.ask_for(values);
      format.template add<kScaled, B>(Format::load(values), marks, x + s * kChunk, x_stride, scales,
                                      k + s * kChunk, acc[s]);
      values += Format::taken(marks, kChunk);
    }
  }
  for (; k < cols; k += kChunk, x += kChunk, marks += kMarks) {
    uint8_t rest[kMostMarks] = {};
    const int64_t left = cols - k, bytes = (left + 7) / 8;
    __builtin_memcpy(rest, marks, static_cast<size_t>(bytes < kMarks ? bytes : kMarks));
    const int64_t count = Format::taken(rest, left);
    format.template add<kScaled, B>(Format::load(values, count), rest, x, x_stride, scales, k, acc[0]);
    values += count;
  }
#pragma GCC unroll 4
  for (int i = 0; i < B; ++i) {
#pragma GCC unroll 4
    for (int s = 1; s < kSets; ++s) acc[0][i] = _mm512_add_ps(acc[0][i], acc[s][i]);
    sums[i * sums_stride] = _mm512_reduce_add_ps(acc[0][i]);
  }
}

// The row is read from memory once: it then stays in the first-level cache for the other rows of X.
template <class Format, bool kScaled>
void multiply(const PackedRow& row, int64_t cols, const void* packed_x, int64_t x_stride, int64_t n,
              float* sums, int64_t sums_stride) {
  const auto* x = static_cast<const uint16_t*>(packed_x);
  const auto batch = [&](auto* run, int64_t i) {
    run(row, cols, x + i * x_stride, x_stride, sums + i * sums_stride, sums_stride);
  };
  int64_t i = 0;
  for (; i + 4 <= n; i += 4) batch(&multiply_batch<Format, kScaled, 4>, i);
  for (; i + 2 <= n; i += 2) batch(&multiply_batch<Format, kScaled, 2>, i);
  if (i < n) batch(&multiply_batch<Format, kScaled, 1>, i);
}

// Thirty-two weights of a block: one row's, or of blocks of 16 columns two rows'.
PRUNE_INLINE __m512i load_unit(const uint16_t* p) { return _mm512_loadu_si512(p); }
PRUNE_INLINE __m512i load_unit(const int8_t* p) {
  const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  const auto widen = [](__m128i bytes) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes)); };
  return (__m512i)_mm512_cvtne2ps_pbh(widen(_mm256_extracti128_si256(v, 1)),
                                      widen(_mm256_castsi256_si128(v)));
}

// The inputs that meet a unit.
template <bool TwoRows>
PRUNE_INLINE __m512i load_inputs(const uint16_t* x) {
  if constexpr (!TwoRows) return _mm512_loadu_si512(x);
  return _mm512_broadcast_i64x4(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(x)));
}

// The scales that a unit's sums take: of a column in row r, or of 16 columns in rows r and r + 1.
template <bool TwoRows>
PRUNE_INLINE __m512 unit_scales(const BlockRow& row, int64_t r, int64_t column) {
  const float* at = row.scales.row + r * row.scales_stride + (column >> row.scales.shift);
  const __m512 scale = _mm512_set1_ps(*at);
  if constexpr (!TwoRows) return scale;
  return _mm512_mask_mov_ps(scale, 0xff00, _mm512_set1_ps(at[row.scales_stride]));
}

// U units from `first` on of every block against B rows of X.
template <class T, bool kScaled, bool TwoRows, int U, int B>
void multiply_units(const BlockRow& row, int64_t first, const uint16_t* x, int64_t x_stride, float* sums,
                    int64_t sums_stride) {
  // Of a block: units from one input to the next 32 lie beside each other, those of a row behind another
  // `across` apart.
  const int64_t across = TwoRows ? 1 : row.block_cols / 32, block = row.block_rows * row.block_cols;
  const T* values = static_cast<const T*>(row.values) + first * across * 32;
  __m512 acc[U][B];
#pragma GCC unroll 8
  for (int u = 0; u < U; ++u) {
#pragma GCC unroll 2
    for (int i = 0; i < B; ++i) acc[u][i] = _mm512_setzero_ps();
  }
  for (int64_t b = 0; b < row.blocks; ++b, values += block) {
    const int64_t column = row.columns[b] * row.block_cols;
    const uint16_t* in = x + column;
    for (int64_t c = 0; c < across; ++c, in += 32) {
      __m512i inputs[B];
#pragma GCC unroll 2
      for (int i = 0; i < B; ++i) inputs[i] = load_inputs<TwoRows>(in + i * x_stride);
#pragma GCC unroll 8
      for (int u = 0; u < U; ++u) {
        const T* at = values + (u * across + c) * 32;
        prefetch_ahead(at);
        const __m512i w = load_unit(at);
        const __m512 scale = kScaled
                                 ? unit_scales<TwoRows>(row, (first + u) * (TwoRows ? 2 : 1), column + 32 * c)
                                 : _mm512_setzero_ps();
#pragma GCC unroll 2
        for (int i = 0; i < B; ++i) acc[u][i] = add_product<kScaled>(acc[u][i], inputs[i], w, scale);
      }
    }
  }
#pragma GCC unroll 8
  for (int u = 0; u < U; ++u) {
#pragma GCC unroll 2
    for (int i = 0; i < B; ++i) {
      float* to = sums + i * sums_stride + (first + u) * (TwoRows ? 2 : 1);
      if constexpr (TwoRows) {
        to[0] = _mm512_mask_reduce_add_ps(0x00ff, acc[u][i]);
        to[1] = _mm512_mask_reduce_add_ps(0xff00, acc[u][i]);
      } else {
        to[0] = _mm512_reduce_add_ps(acc[u][i]);
      }
    }
  }
}

template <class T, bool kScaled, bool TwoRows, int B>
void multiply_block_row(const BlockRow& row, const uint16_t* x, int64_t x_stride, float* sums,
                        int64_t sums_stride) {
  const int64_t units = TwoRows ? row.block_rows / 2 : row.block_rows;
  int64_t u = 0;
  for (; u + 8 <= units; u += 8)
    multiply_units<T, kScaled, TwoRows, 8, B>(row, u, x, x_stride, sums, sums_stride);
  for (; u < units; ++u) multiply_units<T, kScaled, TwoRows, 1, B>(row, u, x, x_stride, sums, sums_stride);
}

template <class T, bool kScaled>
void multiply_blocks(const BlockRow& row, const void* packed_x, int64_t x_stride, int64_t n, float* sums,
                     int64_t sums_stride) {
  const auto* x = static_cast<const uint16_t*>(packed_x);
  const bool two_rows = row.block_cols == 16;
  auto* const run =
      two_rows ? &multiply_block_row<T, kScaled, true, 2> : &multiply_block_row<T, kScaled, false, 2>;
  auto* const one =
      two_rows ? &multiply_block_row<T, kScaled, true, 1> : &multiply_block_row<T, kScaled, false, 1>;
  int64_t i = 0;
  for (; i + 2 <= n; i += 2) run(row, x + i * x_stride, x_stride, sums + i * sums_stride, sums_stride);
  if (i < n) one(row, x + i * x_stride, x_stride, sums + i * sums_stride, sums_stride);
}

void pack_x(const float* x, int64_t cols, int64_t padded, void* packed) {
  round_inputs(x, cols, padded, static_cast<uint16_t*>(packed));
}

bool takes_blocks(int64_t rows, int64_t cols) { return rows % 2 == 0 && (cols == 16 || cols % 32 == 0); }

// Whole numbers come with scales of rows, or of groups of columns.
template <class Format, bool kScales>
constexpr InPlaceKernel kernel(const char* name, Marks marks, WeightType type) {
  InPlaceKernel made{name, marks, type, Format::kChunk, sizeof(uint16_t), pack_x, multiply<Format, false>};
  if constexpr (kScales) made.multiply_scaled = multiply<Format, true>;
  return made;
}

}  // namespace

constexpr InPlaceKernel in_place_nm24_bf16_avx512bf16 =
    kernel<Nm24<Bf16Values>, false>("in_place_nm24_bf16_avx512bf16", Marks::kNm24, WeightType::kBf16);
constexpr InPlaceKernel in_place_nm24_i8_avx512bf16 =
    kernel<Nm24<Int8Values>, true>("in_place_nm24_i8_avx512bf16", Marks::kNm24, WeightType::kI8);
constexpr InPlaceKernel in_place_bitmask_bf16_avx512bf16 = kernel<Bitmask<Bf16Values>, false>(
    "in_place_bitmask_bf16_avx512bf16", Marks::kBitmask, WeightType::kBf16);
constexpr InPlaceKernel in_place_bitmask_i8_avx512bf16 =
    kernel<Bitmask<Int8Values>, true>("in_place_bitmask_i8_avx512bf16", Marks::kBitmask, WeightType::kI8);

constexpr InPlaceBlocksKernel in_place_bsr_bf16_avx512bf16 = {
    "in_place_bsr_bf16_avx512bf16",  WeightType::kBf16, takes_blocks, sizeof(uint16_t), pack_x,
    multiply_blocks<uint16_t, false>};
constexpr InPlaceBlocksKernel in_place_bsr_i8_avx512bf16 = {"in_place_bsr_i8_avx512bf16",
                                                            WeightType::kI8,
                                                            takes_blocks,
                                                            sizeof(uint16_t),
                                                            pack_x,
                                                            multiply_blocks<int8_t, false>,
                                                            multiply_blocks<int8_t, true>};

}  // namespace prune::kernels
