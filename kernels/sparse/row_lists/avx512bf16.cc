#include "kernels/sparse/simd/avx512bf16.h"
// The vector type comes first: the templates below are written against it.
#include "kernels/sparse/row_lists/kernel.h"
#include "kernels/sparse/simd/panel.h"

#include <utility>

namespace prune::kernels {
namespace {

constexpr int kRows = 4;
constexpr int kColumns = 64;
constexpr int kInputs = 256;
constexpr int kRowBytes = kColumns * 2;

// An entry pairs two inputs of equal pattern, so their rows of the panel are interleaved on the way to the
// product. vpunpck works within 128 bits: of 32 columns in a register it pairs up the first four of each
// lane, then the second four. The panel therefore keeps 32 columns in the order 0-3, 16-19, 4-7, 20-23, 8-11,
// ..., and the two results hold columns 0-15 and 16-31.
void pack(const float* x, int64_t ldx, int64_t columns, int64_t depth, void* packed) {
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
        _mm512_storeu_si512(static_cast<uint16_t*>(packed) + (k + i) * kColumns + c,
                            _mm512_permutexvar_epi64(order, both));
      }
    }
  }
}

// 4 rows x 2 P vectors of columns.
template <int P>
struct Tile {
  __m512 acc[kRows][2 * P];
  const uint16_t* counts;
  const uint16_t* offsets;
  const uint32_t* values;

  template <int Pattern>
  PRUNE_INLINE void run_list(const char* panel) {
    for (uint32_t left = *counts++; left != 0; --left) {
      const char* first = panel + offsets[0];
      const char* second = panel + offsets[1];
      offsets += 2;
      __m512i x[2 * P];
#pragma GCC unroll 2
      for (int p = 0; p < P; ++p) {
        const __m512i a = _mm512_loadu_si512(first + 64 * p), b = _mm512_loadu_si512(second + 64 * p);
        x[2 * p] = _mm512_unpacklo_epi16(a, b);
        x[2 * p + 1] = _mm512_unpackhi_epi16(a, b);
      }
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        if ((Pattern >> r & 1) == 0) continue;
        const __m512i w = _mm512_set1_epi32(static_cast<int>(*values++));
#pragma GCC unroll 4
        for (int v = 0; v < 2 * P; ++v) acc[r][v] = dot_pairs(acc[r][v], x[v], w);
      }
    }
  }

  template <int... I>
  PRUNE_INLINE void run_lists(const char* panel, std::integer_sequence<int, I...>) {
    (run_list<I + 1>(panel), ...);
  }

  PRUNE_INLINE void run_group(const char* panel, bool first, float* tile) {
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < 2 * P; ++v) {
        acc[r][v] = first ? _mm512_setzero_ps() : _mm512_loadu_ps(tile + r * kColumns + v * 16);
      }
    }
    run_lists(panel, std::make_integer_sequence<int, (1 << kRows) - 1>{});
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < 2 * P; ++v) _mm512_storeu_ps(tile + r * kColumns + v * 16, acc[r][v]);
    }
  }
};

template <int P>
void multiply_lists(const ListStream& stream, const void* panel, float* tile) {
  Tile<P> state;
  state.counts = stream.counts;
  state.offsets = stream.offsets;
  state.values = static_cast<const uint32_t*>(stream.values);
  const char* block_panel = static_cast<const char*>(panel);
  for (int64_t b = 0; b < stream.blocks; ++b, block_panel += kInputs * kRowBytes) {
    for (int64_t g = 0; g < stream.groups; ++g) {
      state.run_group(block_panel, b == 0, tile + g * kRows * kColumns);
    }
  }
}

void multiply(const ListStream& stream, const void* panel, int64_t columns, float* tile) {
  columns <= 32 ? multiply_lists<1>(stream, panel, tile) : multiply_lists<2>(stream, panel, tile);
}

void store(const float* tile, int64_t rows, int64_t columns, const float* scales, const float* bias, float* y,
           int64_t ldy) {
  store_tile<Avx512F32>(tile, kColumns, rows, columns, scales, bias, y, ldy);
}

}  // namespace

constexpr RowListsKernel row_lists_bf16_avx512bf16{.name = "row_lists_bf16_avx512bf16",
                                                   .bf16 = true,
                                                   .group_rows = kRows,
                                                   .block_inputs = kInputs,
                                                   .panel = {.vector_columns = 32,
                                                             .panel_columns = kColumns,
                                                             .input_bytes = 2,
                                                             .pack = pack,
                                                             .store = store},
                                                   .multiply = multiply};

}  // namespace prune::kernels
