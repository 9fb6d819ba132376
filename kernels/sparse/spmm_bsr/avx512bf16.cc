#include "kernels/sparse/simd/byte_panel.h"
#include "kernels/sparse/simd/pair_panel.h"
// The vector type comes first: the templates below are written against it.
#include "kernels/sparse/spmm_bsr/lanes.h"
#include "kernels/sparse/spmm_bsr/tile.h"

namespace prune::kernels {
namespace {

constexpr int kColumns = 128;

// The two products of a pair go to one sum.
struct PairProduct {
  static constexpr int kInputs = 2, kHeadWords = 0;
  static PRUNE_INLINE __m512 begin(const float* /*head*/, int /*row*/) { return _mm512_setzero_ps(); }
  static PRUNE_INLINE __m512 multiply(__m512 x, __m512 w, __m512 acc) {
    return dot_pairs(acc, _mm512_castps_si512(x), _mm512_castps_si512(w));
  }
};

// The four products of bytes go to one sum of integers. Inputs are kByteZero too large, so a row's sums begin
// at what that makes of its weights.
struct ByteProduct {
  static constexpr int kInputs = 4, kHeadWords = 1;
  static PRUNE_INLINE __m512 begin(const float* head, int row) {
    return _mm512_castsi512_ps(_mm512_set1_epi32(__builtin_bit_cast(int32_t, head[row])));
  }
  static PRUNE_INLINE __m512 multiply(__m512 x, __m512 w, __m512 acc) {
    return _mm512_castsi512_ps(
        _mm512_dpbusd_epi32(_mm512_castps_si512(acc), _mm512_castps_si512(x), _mm512_castps_si512(w)));
  }
};

// Once for all batches: a sum of a row's weights, each waiting for the one before, is an eighth of a product.
template <int R>
void begin_byte_strip(void* strip, int64_t blocks, int64_t block_cols) {
  const auto* values = static_cast<const char*>(strip) + 4 * R;
  __m512i sums = _mm512_setzero_si512();
  for (int64_t j = 0; j < blocks * block_cols / 4; ++j, values += 4 * R) {
    sums = _mm512_dpbusd_epi32(sums, _mm512_set1_epi8(static_cast<char>(kByteZero)),
                               _mm512_maskz_loadu_epi32(first_lanes(R), values));
  }
  _mm512_mask_storeu_epi32(strip, first_lanes(R), _mm512_sub_epi32(_mm512_setzero_si512(), sums));
}

struct PairLaneProduct {
  static constexpr int kInputs = 2, kHeadWords = 0;
  static PRUNE_INLINE __m512 begin(const float* /*head*/) { return _mm512_setzero_ps(); }
  // Written down: gcc makes two instructions of it, of which the first one (vbroadcastss) takes a port of the
  // second.
  static PRUNE_INLINE __m512 multiply(__m512 w, const float* x, __m512 acc) {
    __asm__("vdpbf16ps %2%{1to16%}, %1, %0" : "+v"(acc) : "v"(w), "m"(*x));
    return acc;
  }
};

struct ByteLaneProduct {
  static constexpr int kInputs = 4, kHeadWords = 1;
  static PRUNE_INLINE __m512 begin(const float* head) { return _mm512_load_ps(head); }
  static PRUNE_INLINE __m512 multiply(__m512 w, const float* x, __m512 acc) {
    const __m512i inputs = _mm512_set1_epi32(__builtin_bit_cast(int32_t, *x));
    return _mm512_castsi512_ps(_mm512_dpbusd_epi32(_mm512_castps_si512(acc), inputs, _mm512_castps_si512(w)));
  }
};

// Pieces of a row of X in bf16, two in a register, and in bytes, four.
struct Bf16Pieces {
  static constexpr int64_t kInputBytes = 2, kCount = 2, kApart = kLaneColumns * 32;
  PRUNE_INLINE Bf16Pieces(const float* /*steps*/, int64_t /*column*/) {}
  PRUNE_INLINE void copy(const float* x, int64_t left, char* to) const {
    for (int64_t i = 0; i < kCount && 16 * i < left; ++i)
      _mm256_store_si256(reinterpret_cast<__m256i*>(to + i * kApart),
                         round_bf16(load_inputs(x, left, 16 * i)));
  }
};
struct BytePieces {
  static constexpr int64_t kInputBytes = 1, kCount = 4, kApart = kLaneColumns * 16;
  __m512 inverse;
  PRUNE_INLINE BytePieces(const float* steps, int64_t column) : inverse(_mm512_set1_ps(1 / steps[column])) {}
  PRUNE_INLINE void copy(const float* x, int64_t left, char* to) const {
    // Whole registers need no masks.
    const __m512i bytes = left >= 64 ? round_bytes(x, 64, inverse) : round_bytes(x, left, inverse);
    const __m128i pieces[] = {_mm512_castsi512_si128(bytes), _mm512_extracti32x4_epi32(bytes, 1),
                              _mm512_extracti32x4_epi32(bytes, 2), _mm512_extracti32x4_epi32(bytes, 3)};
    for (int64_t i = 0; i < kCount && 16 * i < left; ++i)
      _mm_store_si128(reinterpret_cast<__m128i*>(to + i * kApart), pieces[i]);
  }
};

constexpr PanelCode kPanel = make_pair_panel_code<kColumns, 16>();
constexpr PanelCode kBytePanel = make_byte_four_panel_code<kColumns>();

}  // namespace

constexpr BsrTileKernel bsr_lanes_bf16_avx512bf16 = make_bsr_lanes_kernel<PairLaneProduct>(
    "bsr_lanes_bf16_avx512bf16", make_lane_panel_code<Bf16Pieces, FloatLanes>());
constexpr BsrTileKernel bsr_lanes_bytes_avx512bf16 = make_bsr_lanes_kernel<ByteLaneProduct>(
    "bsr_lanes_bytes_avx512bf16", make_lane_panel_code<BytePieces, IntegerLanes>(find_byte_step),
    begin_byte_strip<16>);
constexpr BsrTileKernel bsr_tile8_bf16_avx512bf16 =
    make_bsr_tile_kernel<Avx512F32, PairProduct, /*R=*/8, /*NV=*/2, /*Tiles=*/kColumns / 32>(
        "bsr_tile8_bf16_avx512bf16", kPanel);
constexpr BsrTileKernel bsr_tile4_bf16_avx512bf16 =
    make_bsr_tile_kernel<Avx512F32, PairProduct, /*R=*/4, /*NV=*/4, /*Tiles=*/kColumns / 64>(
        "bsr_tile4_bf16_avx512bf16", kPanel);
constexpr BsrTileKernel bsr_tile8_bytes_avx512bf16 =
    make_bsr_tile_kernel<Avx512F32, ByteProduct, /*R=*/8, /*NV=*/2, /*Tiles=*/kColumns / 32>(
        "bsr_tile8_bytes_avx512bf16", kBytePanel, begin_byte_strip<8>);
constexpr BsrTileKernel bsr_tile4_bytes_avx512bf16 =
    make_bsr_tile_kernel<Avx512F32, ByteProduct, /*R=*/4, /*NV=*/4, /*Tiles=*/kColumns / 64>(
        "bsr_tile4_bytes_avx512bf16", kBytePanel, begin_byte_strip<4>);

}  // namespace prune::kernels
