#include "kernels/sparse/simd/avx512bf16.h"
// The vector type comes first: the templates below are written against it.
#include "kernels/sparse/row_lists/tile.h"

namespace prune::kernels {
namespace {

// An entry pairs two inputs of equal pattern, so their rows of the panel are interleaved on the way to the
// product. vpunpck works within 128 bits: of 32 columns in a register it pairs up the first four of each
// lane, then the second four. The panel therefore keeps 32 columns in the order 0-3, 16-19, 4-7, 20-23, 8-11,
// ..., and the two results hold columns 0-15 and 16-31.
template <int Columns>
void pack(const float* x, int64_t ldx, int64_t columns, int64_t depth, const float* /*steps*/, void* packed) {
  const __m512i order = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
  for (int64_t c = 0; c < columns; c += 32) {
    for (int64_t k = 0; k < depth; k += 16) {
      __m512 low[16], high[16];
      load_transposed(x + c * ldx + k, ldx, columns - c, depth - k, low);
      // Where there are no more rows of X the pointer is not used, so it must not be formed past the end.
      load_transposed(columns - c > 16 ? x + (c + 16) * ldx + k : x, ldx, columns - c - 16, depth - k, high);
      for (int64_t i = 0; i < 16 && k + i < depth; ++i) {
        const __m512i both =
            _mm512_inserti64x4(_mm512_castsi256_si512(round_bf16(low[i])), round_bf16(high[i]), 1);
        _mm512_storeu_si512(static_cast<uint16_t*>(packed) + (k + i) * Columns + c,
                            _mm512_permutexvar_epi64(order, both));
      }
    }
  }
}

// An entry's two inputs, their rows interleaved to pairs.
struct PairInputs {
  static constexpr int kPerEntry = 2;
  static constexpr int kVectors = 2;

  static PRUNE_INLINE void load(const char* const (&rows)[2], int v, __m512 (&x)[2]) {
    __m512 first = _mm512_loadu_ps(rows[0] + 32 * v), second = _mm512_loadu_ps(rows[1] + 32 * v);
    Avx512F32::keep(first);
    Avx512F32::keep(second);
    const __m512i a = _mm512_castps_si512(first), b = _mm512_castps_si512(second);
    x[0] = _mm512_castsi512_ps(_mm512_unpacklo_epi16(a, b));
    x[1] = _mm512_castsi512_ps(_mm512_unpackhi_epi16(a, b));
  }
  static PRUNE_INLINE __m512 multiply(__m512 x, __m512 w, __m512 acc) {
    return dot_pairs(acc, _mm512_castps_si512(x), _mm512_castps_si512(w));
  }
};

template <int Columns>
void store(float* tile, int64_t rows, int64_t columns, const float* scales, const float* steps,
           const float* bias, float* y, int64_t ldy) {
  store_tile<Avx512F32>(tile, Columns, rows, columns, scales, steps, bias, y, ldy);
}

// NV vectors wide.
template <int NV, int K>
constexpr RowListsKernel make_kernel(const char* name, double densest) {
  constexpr int kColumns = 16 * NV;
  const PanelCode panel = {.vector_columns = 32,
                           .panel_columns = kColumns,
                           .input_bytes = 2,
                           .pack = pack<kColumns>,
                           .store = store<kColumns>};
  return make_row_lists_kernel<Avx512F32, PairInputs, NV, K>(name, panel, densest);
}

}  // namespace

// As in float, with twice the inputs in the same bytes.
constexpr RowListsKernel row_lists_bf16_avx512bf16 =
    make_kernel</*NV=*/8, /*K=*/128>("row_lists_bf16_avx512bf16", /*densest=*/1.0);
constexpr RowListsKernel row_lists_sparse_bf16_avx512bf16 =
    make_kernel</*NV=*/4, /*K=*/320>("row_lists_sparse_bf16_avx512bf16", /*densest=*/0.25);

}  // namespace prune::kernels
