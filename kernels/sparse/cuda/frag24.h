// The device's own order of a 2:4 matrix: one stream that holds values and metadata in the order in which a
// warp's tensor-core instructions take them, so that decode reads weights at memory bandwidth with 16-byte
// loads and nothing to rearrange.
//
// The matrix is cut into tiles of 32 rows by 128 columns, padded with zeros at its lower and right edge; the
// stream holds the tiles row of tiles after row of tiles. A tile is one contiguous piece:
//
//   values     eight fragments f = 4 * m + s, of 16 rows (m = 0, 1: rows 16m..16m+15) by 32 columns (s =
//   0..3: columns 32s..).
//              Of a fragment, lane l = 4g + t of a warp holds the kept pairs of four groups of four columns
//              ("chunks"), in the order of the A registers of mma.sp m16n8k32 (PTX ISA 8.5, 9.7.14.6):
//                  pair 0: row g, chunk t    pair 1: row g + 8, chunk t    pair 2: row g, chunk t + 4    pair
//                  3: row g + 8, chunk t + 4
//   metadata   512 bytes: lane l has four words, one for each s. Lanes t = 0, 1 carry the rows of m = 0,
//   lanes t = 2, 3 those of
//              m = 1, which is what the instruction's selectors 0 and 1 address. With h = t mod 2 a word
//              holds the nibbles of chunks 4h..4h+3, row g in its low half and row g + 8 in its high half,
//              lowest chunk first.
//   scales     int4 only: 32 bfloat16, one a row and 128 columns; row r at position 4 * (r mod 8) + r / 8.
//
// Where x has eight bits too (kInt8x8, kFp8x8), a tile is 32 rows by 256 columns, and twice as many columns
// make the same bytes:
//
//   values     eight fragments f = 4 * m + s of 16 rows by 64 columns (s = 0..3: columns 64s..), lane l = 4g
//   + t with four words of two groups each, in the order of the A registers of mma.sp m16n8k64:
//                  word 0: row g, chunks 2t, 2t + 1    word 1: row g + 8, the same
//                  word 2: row g, chunks 2t + 8, 2t + 9    word 3: row g + 8, the same
//   metadata   512 bytes for each m: lane l has four words, one for each s: the nibbles of row g + 8 * (t mod
//   2), chunks 8 * (t / 2)..8 * (t / 2) + 7, lowest chunk first. All lanes supply theirs.
//
// A nibble is idx0 + 4 * idx1 with idx0 < idx1, as in the neutral format. Bytes a tile: 4608 for 16-bit
// values (1.125 a weight), 2560 for int8 (0.625), 1600 for int4 (0.391), 5120 where x has eight bits (0.625).
#pragma once

#include <cstddef>
#include <cstdint>

namespace prune::kernels::cuda {

enum class Weight24 : int {
  k16,      // bfloat16 or IEEE half, as the activations
  kInt8,    // two's complement; one float scale a row, applied to the sums
  kInt4,    // 0..15, meaning -8..7; one bfloat16 scale a row and 128 columns
  kInt8x8,  // int8, multiplied with an x of int8 as they are; one float scale a row, applied to the sums
  kFp8x8,   // e4m3, multiplied with an x of e4m3; the same scales
};

// Whether the tensor cores take both operands in eight bits.
constexpr bool both_8_bits(Weight24 weight) {
  return weight == Weight24::kInt8x8 || weight == Weight24::kFp8x8;
}

inline constexpr int kTileRows24 = 32;
inline constexpr int kTileCols24 = 128;       // where x has 16 bits
inline constexpr int kMetadataBytes24 = 512;  // likewise

constexpr int tile_cols24(Weight24 weight) { return both_8_bits(weight) ? 2 * kTileCols24 : kTileCols24; }
constexpr int value_bytes24(Weight24 weight) {
  return weight == Weight24::kInt8 ? 2048 : weight == Weight24::kInt4 ? 1024 : 4096;
}
constexpr int metadata_bytes24(Weight24 weight) {
  return both_8_bits(weight) ? 2 * kMetadataBytes24 : kMetadataBytes24;
}
constexpr int tile_bytes24(Weight24 weight) {
  return value_bytes24(weight) + metadata_bytes24(weight) + (weight == Weight24::kInt4 ? 64 : 0);
}
constexpr int64_t tiles_along24(int64_t size, int tile) { return (size + tile - 1) / tile; }

// Bytes of the whole stream of a [rows, cols] matrix.
constexpr size_t stream_bytes24(Weight24 weight, int64_t rows, int64_t cols) {
  return size_t(tiles_along24(rows, kTileRows24) * tiles_along24(cols, tile_cols24(weight))) *
         tile_bytes24(weight);
}

}  // namespace prune::kernels::cuda
