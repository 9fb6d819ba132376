#include "kernels/sparse/simd/byte_panel.h"
#include "kernels/sparse/simd/row_pair_panel.h"
// The vector type comes first.
#include "kernels/sparse/pattern_lists/kernel.h"
#include "kernels/sparse/simd/prefetch.h"

namespace prune::kernels {
namespace {

constexpr int kColumns = 64;                 // of a panel
constexpr int64_t kStreamBytesAhead = 8192;  // of a stream, that are asked for before they are read

// How entries are read: load() yields kVectors<NV> of them, from vector v on, of an entry's interleaved
// inputs.
struct PairEntries {
  static constexpr int kInputs = 2, kOffsetWords = 1;
  static constexpr int kRowBytes = 2 * kColumns;
  template <int NV>
  static constexpr int kVectors = 2;
  template <int NV>
  static PRUNE_INLINE void load(uint64_t offsets, const char* panel, int v, __m512i (&x)[kVectors<NV>]) {
    interleave_rows(panel + static_cast<uint16_t>(offsets), panel + static_cast<uint16_t>(offsets >> 16), v,
                    x);
  }
  static PRUNE_INLINE __m512 multiply(__m512 acc, __m512i x, __m512i w) { return dot_pairs(acc, w, x); }
};

// Of bytes a row of the panel is one register, whatever the columns.
struct ByteEntries {
  static constexpr int kInputs = 4, kOffsetWords = 2;
  static constexpr int kRowBytes = kColumns;
  template <int NV>
  static constexpr int kVectors = NV;
  template <int NV>
  static PRUNE_INLINE void load(uint64_t offsets, const char* panel, int /*v*/, __m512i (&x)[kVectors<NV>]) {
    __m512i rows[4];
    for (int i = 0; i < 4; ++i) {
      rows[i] = _mm512_load_si512(panel + static_cast<uint16_t>(offsets >> 16 * i));
      // One load for all: gcc would fold it into each.
      __asm__("" : "+v"(rows[i]));
    }
    const __m512i low01 = _mm512_unpacklo_epi8(rows[0], rows[1]),
                  low23 = _mm512_unpacklo_epi8(rows[2], rows[3]);
    x[0] = _mm512_unpacklo_epi16(low01, low23);
    x[1] = _mm512_unpackhi_epi16(low01, low23);
    if constexpr (NV > 2) {
      const __m512i high01 = _mm512_unpackhi_epi8(rows[0], rows[1]),
                    high23 = _mm512_unpackhi_epi8(rows[2], rows[3]);
      x[2] = _mm512_unpacklo_epi16(high01, high23);
      x[3] = _mm512_unpackhi_epi16(high01, high23);
    }
  }
  static PRUNE_INLINE __m512 multiply(__m512 acc, __m512i x, __m512i w) {
    return _mm512_castsi512_ps(_mm512_dpbusd_epi32(_mm512_castps_si512(acc), x, w));
  }
};

// The list of a pattern: `length` entries from `words` on, which becomes where they end.
template <class Entries, int NV, int Pattern>
PRUNE_INLINE void run_list(const uint32_t*& words, int length, const char* panel,
                           __m512 (&acc)[kPatternRows][NV]) {
  constexpr int kWords = Entries::kOffsetWords + __builtin_popcount(Pattern);
  constexpr int kVectors = Entries::template kVectors<NV>;
  for (; length != 0; --length, words += kWords) {
    uint64_t offsets = words[0];
    if constexpr (Entries::kOffsetWords == 2) __builtin_memcpy(&offsets, words, sizeof offsets);
    // One load for all offsets.
    __asm__("" : "+r"(offsets));
#pragma GCC unroll 8
    for (int v = 0; v < NV; v += kVectors) {
      __m512i x[kVectors];
      Entries::template load<NV>(offsets, panel, v, x);
#pragma GCC unroll 4
      for (int r = 0; r < kPatternRows; ++r) {
        if ((Pattern >> r & 1) == 0) continue;
        const __m512i w = _mm512_set1_epi32(
            static_cast<int>(words[Entries::kOffsetWords + __builtin_popcount(Pattern & ((1 << r) - 1))]));
#pragma GCC unroll 8
        for (int i = 0; i < kVectors; ++i) acc[r][v + i] = Entries::multiply(acc[r][v + i], x[i], w);
      }
    }
  }
}

template <class Entries, int NV, int I = 0>
PRUNE_INLINE void run_lists(const uint32_t*& words, const uint8_t* lengths, const char* panel,
                            __m512 (&acc)[kPatternRows][NV]) {
  run_list<Entries, NV, kPatternOrder[I]>(words, lengths[I], panel, acc);
  if constexpr (I + 1 < kPatterns) run_lists<Entries, NV, I + 1>(words, lengths, panel, acc);
}

template <int NV>
using Sums = __m512[kPatternRows][NV];

// Of four rows; `begins`: theirs, or null for zeros.
template <int NV>
PRUNE_INLINE void begin_sums(const int32_t* begins, Sums<NV>& acc) {
#pragma GCC unroll 4
  for (int r = 0; r < kPatternRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) {
      acc[r][v] = begins == nullptr ? _mm512_setzero_ps() : _mm512_castsi512_ps(_mm512_set1_epi32(begins[r]));
    }
  }
}
template <int NV>
PRUNE_INLINE void load_sums(const float* tile, Sums<NV>& acc) {
#pragma GCC unroll 4
  for (int r = 0; r < kPatternRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) acc[r][v] = _mm512_load_ps(tile + r * kColumns + 16 * v);
  }
}
template <int NV>
PRUNE_INLINE void store_sums(const Sums<NV>& acc, float* tile) {
#pragma GCC unroll 4
  for (int r = 0; r < kPatternRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) _mm512_store_ps(tile + r * kColumns + 16 * v, acc[r][v]);
  }
}

template <class Entries, int NV>
void multiply_lists(const PatternStream& stream, const char* panel, float* tile) {
  constexpr int64_t kSumsBytes = kPatternRows * kColumns * int64_t{sizeof(float)};
  const uint32_t* words = stream.words;
  int64_t asked = kStreamBytesAhead;  // from stream.words on
  for (int64_t b = 0; b < stream.blocks; ++b, panel += stream.block_bytes) {
    float* sums = tile;
    for (int64_t i = 0; i < stream.fours; ++i, sums += kPatternRows * kColumns) {
      // The sums of the next four rows come from the second-level cache.
      for (int64_t at = 0; at < kSumsBytes; at += 64) prefetch_behind(sums, kSumsBytes + at);
      __m512 acc[kPatternRows][NV];
      if (stream.is_first && b == 0)
        begin_sums<NV>(stream.begins == nullptr ? nullptr : stream.begins + i * kPatternRows, acc);
      else
        load_sums<NV>(sums, acc);
      const auto* lengths = reinterpret_cast<const uint8_t*>(words);
      words += 4;
      run_lists<Entries, NV>(words, lengths, panel, acc);
      store_sums<NV>(acc, sums);
      // To the second-level cache: the first is full of the panel.
      const int64_t used = (words - stream.words) * int64_t{sizeof(uint32_t)};
      for (; asked < used + kStreamBytesAhead; asked += 64) prefetch_second_level(stream.words, asked);
    }
  }
}

template <class Entries>
void multiply_columns(const PatternStream& stream, const char* panel, int64_t columns, float* tile) {
  if (columns <= 32) return multiply_lists<Entries, 2>(stream, panel, tile);
  multiply_lists<Entries, 4>(stream, panel, tile);
}

template <class Entries, int K>
constexpr PatternListsKernel kernel(const char* name, bool in_bytes, double sparsest,
                                    const PanelCode& panel) {
  static_assert(K * Entries::kRowBytes <= 65536, "offsets are 16 bits");
  static_assert(K / Entries::kInputs < 256, "list lengths are 8 bits");
  return {.name = name,
          .in_bytes = in_bytes,
          .sparsest = sparsest,
          .inputs_together = Entries::kInputs,
          .block_inputs = K,
          .panel = panel,
          .multiply = multiply_columns<Entries>};
}

// panel[k][p]: bytes of input k, columns in the order that unpacking bytes and then pairs, within 128 bits,
// leaves in vectors of sixteen that are neighbours: column 16 u + 4 l + i at byte 16 l + 4 u + i. Missing
// columns and inputs become whatever.
void pack_byte_rows(const float* x, int64_t ldx, int64_t columns, int64_t depth, const float* steps,
                    void* packed) {
  alignas(64) uint32_t fours[16][kColumns];  // [k / 4][column], four inputs each
  alignas(64) static constexpr uint8_t kTransposed[16] = {0, 4, 8,  12, 1, 5, 9,  13,
                                                          2, 6, 10, 14, 3, 7, 11, 15};
  const __m512i bytes = _mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i*>(kTransposed)));
  for (int64_t k = 0; k < depth; k += 64) {
    const int64_t left = depth - k < 64 ? depth - k : 64;
    pack_words<kColumns, FourWords>(x + k, ldx, columns, kColumns, left, steps, fours);
    for (int64_t p = 0; 4 * p < left; ++p) {
      __m512i v[4];  // of sixteen columns: four of each input in every 128 bits
      for (int u = 0; u < 4; ++u) v[u] = _mm512_shuffle_epi8(_mm512_load_si512(fours[p] + 16 * u), bytes);
      const __m512i a = _mm512_unpacklo_epi32(v[0], v[1]), b = _mm512_unpacklo_epi32(v[2], v[3]);
      const __m512i c = _mm512_unpackhi_epi32(v[0], v[1]), d = _mm512_unpackhi_epi32(v[2], v[3]);
      const __m512i inputs[4] = {_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b),
                                 _mm512_unpacklo_epi64(c, d), _mm512_unpackhi_epi64(c, d)};
      for (int64_t i = 0; i < 4 && k + 4 * p + i < depth; ++i)
        _mm512_store_si512(static_cast<char*>(packed) + (k + 4 * p + i) * kColumns, inputs[i]);
    }
  }
}

constexpr PanelCode kBytePanel = {.vector_columns = 32,
                                  .panel_columns = kColumns,
                                  .input_bytes = 1,
                                  .pack = pack_byte_rows,
                                  .store = store_byte_sums<kColumns>,
                                  .find_step = find_byte_step};

}  // namespace

constexpr PatternListsKernel pattern_lists_bf16_avx512bf16 = kernel<PairEntries, /*K=*/224>(
    "pattern_lists_bf16_avx512bf16", false, /*sparsest=*/0.38, make_row_pair_panel_code<kColumns>());
constexpr PatternListsKernel pattern_lists_bytes_avx512bf16 =
    kernel<ByteEntries, /*K=*/448>("pattern_lists_bytes_avx512bf16", true, /*sparsest=*/0.38, kBytePanel);

}  // namespace prune::kernels
