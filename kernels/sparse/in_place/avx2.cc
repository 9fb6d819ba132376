#include "kernels/sparse/in_place/kernel.h"
#include "kernels/sparse/simd/avx2_values.h"

namespace prune::kernels {
namespace {

constexpr int64_t kChunk = 32;  // columns
constexpr int64_t kMarks = 4;   // their marks' bytes

PRUNE_INLINE uint32_t load_marks(const uint8_t* p) {
  uint32_t marks;
  __builtin_memcpy(&marks, p, sizeof marks);
  return marks;
}

// Eight values belong to four groups of inputs, two to a group: each half register of inputs gives two of
// them, and a blend joins what the two registers give.
PRUNE_INLINE __m256 gather(const float* x, __m256i indices) {
  // vpermilps looks at the low two bits of each element alone.
  return _mm256_blend_ps(_mm256_permutevar_ps(_mm256_loadu_ps(x), indices),
                         _mm256_permutevar_ps(_mm256_loadu_ps(x + 8), indices), 0xcc);
}

// Formats take a chunk in two parts of 16 places in packed X. add() adds their products to a sum for each of
// B rows of X and returns by how many values the row has advanced.
template <class Values>
struct Nm24 : Values {
  using Order = typename Values::OfNm24;

  // Inputs that may be multiplied before a load reaches beyond the array.
  static int64_t safe(const PackedRow&, int64_t cols) { return cols; }
  // How many values a chunk takes.
  static int64_t taken(uint32_t, int64_t left) { return (left < kChunk ? left : kChunk) / 2; }

  // Lane l takes the input that index value_in(part, l) names.
  PRUNE_INLINE static __m256i shifts(int part) {
    const auto at = [part](int lane) { return 2 * Values::value_in(part, lane); };
    return _mm256_setr_epi32(at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7));
  }

  template <int B>
  PRUNE_INLINE static int64_t add(int part, const typename Values::Value* values, uint32_t marks,
                                  const float* x, int64_t x_stride, __m256 (&sums)[B]) {
    const __m256i indices = _mm256_srlv_epi32(_mm256_set1_epi32(static_cast<int>(marks)), shifts(part));
    const __m256 w = Values::load(values, part);
#pragma GCC unroll 2
    for (int i = 0; i < B; ++i) sums[i] = _mm256_fmadd_ps(gather(x + i * x_stride, indices), w, sums[i]);
    return part * kChunk / 2;
  }
};

// The next values, spread to the places that the mask names.
template <class Values>
struct Bitmask : Values {
  using Order = typename Values::OfPlaces;

  // A chunk reads no further than values for all of its weights would lie.
  static int64_t safe(const PackedRow& row, int64_t cols) {
    return row.values_left < cols ? row.values_left : cols;
  }
  static int64_t taken(uint32_t marks, int64_t) { return __builtin_popcount(marks); }

  template <int B>
  PRUNE_INLINE static int64_t add(int part, const typename Values::Value* values, uint32_t marks,
                                  const float* x, int64_t x_stride, __m256 (&sums)[B]) {
    const uint32_t mask = part == 0 ? marks & 0xffff : marks >> 16;
    __m256 w[2];
    Values::spread(values, mask, w);
#pragma GCC unroll 2
    for (int i = 0; i < B; ++i) {
      sums[i] = _mm256_fmadd_ps(w[0], _mm256_loadu_ps(x + i * x_stride), sums[i]);
      sums[i] = _mm256_fmadd_ps(w[1], _mm256_loadu_ps(x + i * x_stride + 8), sums[i]);
    }
    return __builtin_popcount(mask);
  }
};

// acc += scale * what add(sums) adds to sums; a scale of the whole row is left to the frame.
template <bool kScaled, int B, class Add>
PRUNE_INLINE auto add_scaled(const float* scale, __m256 (&acc)[B], const Add& add) {
  if constexpr (!kScaled) {
    return add(acc);
  } else {
    __m256 sums[B];
#pragma GCC unroll 2
    for (int i = 0; i < B; ++i) sums[i] = _mm256_setzero_ps();
    const auto result = add(sums);
#pragma GCC unroll 2
    for (int i = 0; i < B; ++i) acc[i] = _mm256_fmadd_ps(sums[i], _mm256_set1_ps(*scale), acc[i]);
    return result;
  }
}

// B rows of X. Chunks take turns with kSets sums, so that none waits for the one before.
template <class Format, bool kScaled, int B>
void multiply_batch(const PackedRow& row, int64_t cols, const float* x, int64_t x_stride, float* sums,
                    int64_t sums_stride) {
  using Value = typename Format::Value;
  constexpr int kSets = 4 / B;
  constexpr int64_t kStep = kSets * kChunk;
  const auto* values = static_cast<const Value*>(row.values);
  const uint8_t* marks = row.marks;
  __m256 acc[kSets][B];
#pragma GCC unroll 4
  for (int s = 0; s < kSets; ++s) {
#pragma GCC unroll 2
    for (int i = 0; i < B; ++i) acc[s][i] = _mm256_setzero_ps();
  }
  const auto add = [&](int part, const Value* from, uint32_t bits, int64_t k, __m256(&to)[B]) {
    const float* scale = kScaled ? row.scales.row + (k >> row.scales.shift) : nullptr;
    return add_scaled<kScaled>(scale, to, [&](__m256(&of_part)[B]) {
      return Format::template add<B>(part, from, bits, x + k + 16 * part, x_stride, of_part);
    });
  };
  int64_t k = 0;
  for (const int64_t safe = Format::safe(row, cols); k + kStep <= safe; k += kStep) {
    prefetch_ahead(marks + k / 8);
#pragma GCC unroll 4
    for (int s = 0; s < kSets; ++s) {
      prefetch_ahead(values);
      const uint32_t bits = load_marks(marks + k / 8 + s * kMarks);
#pragma GCC unroll 2
      for (int part = 0; part < 2; ++part) values += add(part, values, bits, k + s * kChunk, acc[s]);
    }
  }
  // Near the end of the row or of the array, from copies.
  for (; k < cols; k += kChunk) {
    const int64_t left = cols - k, bytes = (left + 7) / 8;
    uint8_t rest[kMarks] = {};
    __builtin_memcpy(rest, marks + k / 8, static_cast<size_t>(bytes < kMarks ? bytes : kMarks));
    const uint32_t bits = load_marks(rest);
    const int64_t taken = Format::taken(bits, left);
    Value copy[kChunk] = {};
    if (taken > 0) __builtin_memcpy(copy, values, static_cast<size_t>(taken) * sizeof(Value));
    const Value* from = copy;
#pragma GCC unroll 2
    for (int part = 0; part < 2; ++part) from += add(part, from, bits, k, acc[0]);
    values += taken;
  }
#pragma GCC unroll 2
  for (int i = 0; i < B; ++i) {
#pragma GCC unroll 4
    for (int s = 1; s < kSets; ++s) acc[0][i] = _mm256_add_ps(acc[0][i], acc[s][i]);
    sums[i * sums_stride] = horizontal_sum(acc[0][i]);
  }
}

// The row is read from memory once: it then stays in the first-level cache for the other rows of X.
template <class Format, bool kScaled>
void multiply(const PackedRow& row, int64_t cols, const void* packed_x, int64_t x_stride, int64_t n,
              float* sums, int64_t sums_stride) {
  const auto* x = static_cast<const float*>(packed_x);
  int64_t i = 0;
  for (; i + 2 <= n; i += 2)
    multiply_batch<Format, kScaled, 2>(row, cols, x + i * x_stride, x_stride, sums + i * sums_stride,
                                       sums_stride);
  if (i < n)
    multiply_batch<Format, kScaled, 1>(row, cols, x + i * x_stride, x_stride, sums + i * sums_stride,
                                       sums_stride);
}

// R rows from `first` on of every block against B rows of X.
template <class Values, bool kScaled, int R, int B>
void multiply_block_rows(const BlockRow& row, int64_t first, const float* x, int64_t x_stride, float* sums,
                         int64_t sums_stride) {
  const int64_t block = row.block_rows * row.block_cols;
  const auto* values = static_cast<const typename Values::Value*>(row.values) + first * row.block_cols;
  __m256 acc[R][B];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
    for (int i = 0; i < B; ++i) acc[r][i] = _mm256_setzero_ps();
  }
  for (int64_t b = 0; b < row.blocks; ++b, values += block) {
    const int64_t column = row.columns[b] * row.block_cols;
    for (int64_t c = 0; c < row.block_cols; c += 16) {
      const float* in = x + column + c;
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const auto* at = values + r * row.block_cols + c;
        prefetch_ahead(at);
        const float* scale =
            kScaled ? row.scales.row + (first + r) * row.scales_stride + ((column + c) >> row.scales.shift)
                    : nullptr;
        add_scaled<kScaled>(scale, acc[r], [&](__m256(&to)[B]) {
#pragma GCC unroll 2
          for (int h = 0; h < 2; ++h) {
            const __m256 w = Values::load(at, h);
#pragma GCC unroll 2
            for (int i = 0; i < B; ++i)
              to[i] = _mm256_fmadd_ps(w, _mm256_loadu_ps(in + i * x_stride + 8 * h), to[i]);
          }
          return 0;
        });
      }
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
    for (int i = 0; i < B; ++i) sums[i * sums_stride + first + r] = horizontal_sum(acc[r][i]);
  }
}

// Sixteen rows at once, so that blocks of that height are read in the order in which they lie: fewer sums
// would fit the registers, but one stream through memory is worth a few that do not.
template <class Values, bool kScaled, int B>
void multiply_block_row(const BlockRow& row, const float* x, int64_t x_stride, float* sums,
                        int64_t sums_stride) {
  constexpr int kMost = B == 1 ? 16 : 4;
  int64_t r = 0;
  for (; r + kMost <= row.block_rows; r += kMost)
    multiply_block_rows<Values, kScaled, kMost, B>(row, r, x, x_stride, sums, sums_stride);
  if constexpr (kMost > 4) {
    for (; r + 4 <= row.block_rows; r += 4)
      multiply_block_rows<Values, kScaled, 4, B>(row, r, x, x_stride, sums, sums_stride);
  }
  for (; r < row.block_rows; ++r)
    multiply_block_rows<Values, kScaled, 1, B>(row, r, x, x_stride, sums, sums_stride);
}

template <class Values, bool kScaled>
void multiply_blocks(const BlockRow& row, const void* packed_x, int64_t x_stride, int64_t n, float* sums,
                     int64_t sums_stride) {
  const auto* x = static_cast<const float*>(packed_x);
  int64_t i = 0;
  for (; i + 2 <= n; i += 2)
    multiply_block_row<Values, kScaled, 2>(row, x + i * x_stride, x_stride, sums + i * sums_stride,
                                           sums_stride);
  if (i < n)
    multiply_block_row<Values, kScaled, 1>(row, x + i * x_stride, x_stride, sums + i * sums_stride,
                                           sums_stride);
}

bool takes_blocks(int64_t, int64_t cols) { return cols % 16 == 0; }

// Whole numbers come with scales of rows, or of groups of columns.
template <class Format>
constexpr InPlaceKernel kernel(const char* name, Marks marks, WeightType type) {
  InPlaceKernel made{.name = name,
                     .marks = marks,
                     .type = type,
                     .chunk = kChunk,
                     .input_bytes = sizeof(float),
                     .pack_x = pack_inputs<typename Format::Order>,
                     .multiply = multiply<Format, false>};
  if (type == WeightType::kI8) made.multiply_scaled = multiply<Format, true>;
  return made;
}
template <class Values>
constexpr InPlaceKernel nm24_kernel(const char* name, WeightType type) {
  return kernel<Nm24<Values>>(name, Marks::kNm24, type);
}
template <class Values>
constexpr InPlaceKernel bitmask_kernel(const char* name, WeightType type) {
  return kernel<Bitmask<Values>>(name, Marks::kBitmask, type);
}
template <class Values>
constexpr InPlaceBlocksKernel blocks_kernel(const char* name, WeightType type) {
  InPlaceBlocksKernel made{.name = name,
                           .type = type,
                           .takes = takes_blocks,
                           .input_bytes = sizeof(float),
                           .pack_x = pack_inputs<typename Values::OfPlaces>,
                           .multiply = multiply_blocks<Values, false>};
  if (type == WeightType::kI8) made.multiply_scaled = multiply_blocks<Values, true>;
  return made;
}

}  // namespace

constexpr InPlaceKernel in_place_nm24_f32_avx2 =
    nm24_kernel<FloatValues>("in_place_nm24_f32_avx2", WeightType::kF32);
constexpr InPlaceKernel in_place_nm24_bf16_avx2 =
    nm24_kernel<Bf16Values>("in_place_nm24_bf16_avx2", WeightType::kBf16);
constexpr InPlaceKernel in_place_nm24_f16_avx2 =
    nm24_kernel<HalfValues>("in_place_nm24_f16_avx2", WeightType::kF16);
constexpr InPlaceKernel in_place_nm24_i8_avx2 =
    nm24_kernel<Int8Values>("in_place_nm24_i8_avx2", WeightType::kI8);
constexpr InPlaceKernel in_place_bitmask_f32_avx2 =
    bitmask_kernel<FloatValues>("in_place_bitmask_f32_avx2", WeightType::kF32);
constexpr InPlaceKernel in_place_bitmask_bf16_avx2 =
    bitmask_kernel<Bf16Values>("in_place_bitmask_bf16_avx2", WeightType::kBf16);
constexpr InPlaceKernel in_place_bitmask_f16_avx2 =
    bitmask_kernel<HalfValues>("in_place_bitmask_f16_avx2", WeightType::kF16);
constexpr InPlaceKernel in_place_bitmask_i8_avx2 =
    bitmask_kernel<Int8Values>("in_place_bitmask_i8_avx2", WeightType::kI8);
constexpr InPlaceBlocksKernel in_place_bsr_f32_avx2 =
    blocks_kernel<FloatValues>("in_place_bsr_f32_avx2", WeightType::kF32);
constexpr InPlaceBlocksKernel in_place_bsr_bf16_avx2 =
    blocks_kernel<Bf16Values>("in_place_bsr_bf16_avx2", WeightType::kBf16);
constexpr InPlaceBlocksKernel in_place_bsr_f16_avx2 =
    blocks_kernel<HalfValues>("in_place_bsr_f16_avx2", WeightType::kF16);
constexpr InPlaceBlocksKernel in_place_bsr_i8_avx2 =
    blocks_kernel<Int8Values>("in_place_bsr_i8_avx2", WeightType::kI8);

}  // namespace prune::kernels
