// Blocks against many rows of X with sixteen rows of W in the lanes of a register.
//
//   panel      [k / 16][c][k % 16]: what a block sixteen inputs wide meets of a row of X lies together, and
//   rows of X
//              beside each other: as they come they may be a power of two apart and meet in one set of the
//              cache
//   a step     the weights of an input, of two in bf16 or of four in bytes, of sixteen rows: one register
//              acc[c] += step * input of row c of X, which a load brings to all lanes; up to kLaneColumns
//              rows of X
//
// X is copied and rounded but not transposed, and nor are sums: that is what blocks of which little stays
// spend most of their time on otherwise. A product needs a load of its own.
//
// Include only from files built with AVX-512.
#pragma once

#include "kernels/sparse/simd/lane_tile.h"
#include "kernels/sparse/simd/prefetch.h"
#include "kernels/sparse/simd/word_panel.h"
#include "kernels/sparse/spmm_bsr/kernel.h"

namespace prune::kernels {
namespace {

inline constexpr int64_t kLaneColumns = 28;  // of a panel, whose sums are in registers together
inline constexpr int64_t kLaneInputs = 16;   // widths of blocks are multiples of this

// One strip against B columns. Product:
//   kInputs                        inputs of a step, of which a panel has kLaneInputs / kInputs words of 32
//   bits begin(head), multiply(w, x, acc)
template <class Product, int B>
void multiply_lanes(const float* head, const int32_t* block_columns, int64_t blocks, int64_t pieces,
                    const float* panel, float* tile) {
  constexpr int64_t kWords = kLaneInputs / Product::kInputs, kPiece = kLaneColumns * kWords;
  constexpr int64_t kLinesAhead =
      (B * kWords / 16 + kWords - 1) / kWords;  // a step's share of the next piece
  const float* values = head + kLaneRows * Product::kHeadWords;
  __m512 acc[B];
#pragma GCC unroll 32
  for (int c = 0; c < B; ++c) acc[c] = Product::begin(head);
  for (int64_t b = 0; b < blocks; ++b) {
    const float* x = panel + block_columns[b] * pieces * kPiece;
    // Which block comes next no hardware can guess.
    const float* ahead = panel + block_columns[b + 1 < blocks ? b + 1 : b] * pieces * kPiece;
    for (int64_t piece = 0; piece < pieces; ++piece, x += kPiece, ahead += kPiece) {
      for (int64_t w = 0; w < kWords; ++w, values += kLaneRows) {
        prefetch_ahead(values);
#pragma GCC unroll 2
        for (int64_t i = 0; i < kLinesAhead; ++i) prefetch_behind(ahead, (w * kLinesAhead + i) * 64);
        __m512 weights = _mm512_load_ps(values);
        Avx512F32::keep(weights);
#pragma GCC unroll 32
        for (int c = 0; c < B; ++c) acc[c] = Product::multiply(weights, x + c * kWords + w, acc[c]);
      }
    }
  }
#pragma GCC unroll 32
  for (int c = 0; c < B; ++c) _mm512_store_ps(tile + c * kLaneRows, acc[c]);
}

// By the even number of columns that holds all: sums of one more than there are go nowhere.
template <class Product, int B = kLaneColumns>
void multiply_any_lanes(const void* strip, const int32_t* block_columns, int64_t blocks, int64_t block_cols,
                        const void* panel, int64_t columns, float* tile) {
  if constexpr (B > 2) {
    if (columns <= B - 2)
      return multiply_any_lanes<Product, B - 2>(strip, block_columns, blocks, block_cols, panel, columns,
                                                tile);
  }
  multiply_lanes<Product, B>(static_cast<const float*>(strip), block_columns, blocks,
                             block_cols / kLaneInputs, static_cast<const float*>(panel), tile);
}

// A row of X after the other. Pieces::copy(row of X, left, to): Pieces::kCount pieces of kLaneInputs inputs,
// those from `left` on zero or not written where a whole piece is missing, kLaneColumns pieces apart.
template <class Pieces>
void pack_lanes(const float* x, int64_t ldx, int64_t columns, int64_t depth, const float* steps,
                void* packed) {
  constexpr int64_t kPieceBytes = kLaneInputs * Pieces::kInputBytes;
  for (int64_t c = 0; c < columns; ++c, x += ldx) {
    const Pieces pieces(steps, c);
    char* to = static_cast<char*>(packed) + c * kPieceBytes;
    for (int64_t k = 0; k < depth; k += kLaneInputs * Pieces::kCount)
      pieces.copy(x + k, depth - k, to + k / kLaneInputs * kLaneColumns * kPieceBytes);
  }
}

struct FloatPieces {
  static constexpr int64_t kInputBytes = 4, kCount = 1;
  PRUNE_INLINE FloatPieces(const float* /*steps*/, int64_t /*column*/) {}
  PRUNE_INLINE void copy(const float* x, int64_t left, char* to) const {
    _mm512_store_ps(to, load_inputs(x, left, 0));
  }
};

template <class Pieces, class Lanes>
constexpr PanelCode make_lane_panel_code(decltype(PanelCode::find_step) find_step = nullptr) {
  return {.vector_columns = 2,
          .panel_columns = kLaneColumns,
          .input_bytes = Pieces::kInputBytes,
          .pack = pack_lanes<Pieces>,
          .store = store_lanes<Lanes, kLaneColumns>,
          .find_step = find_step,
          .inputs_together = kLaneInputs,
          .column_bytes = kLaneInputs * Pieces::kInputBytes};
}

template <class Product>
constexpr BsrTileKernel make_bsr_lanes_kernel(const char* name, const PanelCode& panel,
                                              decltype(BsrTileKernel::begin) begin = nullptr) {
  return {.name = name,
          .inputs_together = Product::kInputs,
          .strip_rows = kLaneRows,
          .strip_inputs = kLaneInputs,
          .in_halves = true,
          .panel = panel,
          .head_bytes = kLaneRows * Product::kHeadWords * 4,
          .begin = begin,
          .multiply = multiply_any_lanes<Product>};
}

}  // namespace
}  // namespace prune::kernels
