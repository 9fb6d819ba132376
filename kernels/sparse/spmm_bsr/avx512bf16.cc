#include "kernels/sparse/simd/avx512bf16.h"
// The vector type comes first: the templates below are written against it.
#include "kernels/sparse/simd/panel.h"
#include "kernels/sparse/spmm_bsr/kernel.h"

namespace prune::kernels {
namespace {

constexpr int kColumns = 128;
constexpr int kRows = kBsrTileRows;

// Inputs 2 p and 2 p + 1 lie in the lower and upper half of each 32 bits: panel[p][c], 128 columns a row.
void pack(const float* x, int64_t ldx, int64_t columns, int64_t depth, void* packed) {
  for (int64_t c = 0; c < columns; c += 16) {
    for (int64_t k = 0; k < depth; k += 16) {
      __m512 r[16];
      load_transposed(x + c * ldx + k, ldx, columns - c, depth - k, r);
      for (int64_t i = 0; i < 16 && k + i < depth; i += 2) {
        const __m512i even = _mm512_cvtepu16_epi32(round_bf16(r[i]));
        const __m512i odd = _mm512_slli_epi32(_mm512_cvtepu16_epi32(round_bf16(r[i + 1])), 16);
        _mm512_storeu_si512(static_cast<uint32_t*>(packed) + (k + i) / 2 * kColumns + c,
                            _mm512_or_si512(even, odd));
      }
    }
  }
}

template <int NV>
PRUNE_INLINE void multiply_strip(const uint32_t* values, const int32_t* block_columns, int64_t blocks,
                                 int64_t block_pairs, const uint32_t* panel, float* tile) {
  __m512 acc[kRows][NV];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) acc[r][v] = _mm512_setzero_ps();
  }
  for (int64_t b = 0; b < blocks; ++b) {
    const uint32_t* row = panel + block_columns[b] * block_pairs * kColumns;
    for (int64_t j = 0; j < block_pairs; ++j, row += kColumns, values += kRows) {
      __m512i x[NV];
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) x[v] = _mm512_loadu_si512(row + 16 * v);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        const __m512i w = _mm512_set1_epi32(static_cast<int>(values[r]));
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) acc[r][v] = dot_pairs(acc[r][v], x[v], w);
      }
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) _mm512_storeu_ps(tile + r * kColumns + 16 * v, acc[r][v]);
  }
}

void multiply(const void* packed_values, const int32_t* block_columns, int64_t blocks, int64_t block_cols,
              const void* packed, int64_t columns, float* tile) {
  const auto* values = static_cast<const uint32_t*>(packed_values);
  const auto* panel = static_cast<const uint32_t*>(packed);
  const int64_t pairs = block_cols / 2;
  int64_t c = 0;
  for (; c + 48 < columns; c += 64)
    multiply_strip<4>(values, block_columns, blocks, pairs, panel + c, tile + c);
  for (; c + 16 < columns; c += 32)
    multiply_strip<2>(values, block_columns, blocks, pairs, panel + c, tile + c);
  if (c < columns) multiply_strip<1>(values, block_columns, blocks, pairs, panel + c, tile + c);
}

void store(const float* tile, int64_t rows, int64_t columns, const float* scales, const float* bias, float* y,
           int64_t ldy) {
  store_tile<Avx512F32>(tile, kColumns, rows, columns, scales, bias, y, ldy);
}

}  // namespace

constexpr BsrTileKernel bsr_tile_bf16_avx512bf16{.name = "bsr_tile_bf16_avx512bf16",
                                                 .bf16 = true,
                                                 .panel = {.vector_columns = 16,
                                                           .panel_columns = kColumns,
                                                           .input_bytes = 2,
                                                           .pack = pack,
                                                           .store = store},
                                                 .multiply = multiply};

}  // namespace prune::kernels
