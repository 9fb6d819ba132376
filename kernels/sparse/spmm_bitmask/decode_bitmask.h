// Products with unstructured sparse weights on the GPU, few tokens: a bit a weight and the weights that are
// there are read once, at memory bandwidth, for 50 to 80% zeros.
//
//   y[n][r] = sum over k of w[r][k] * x[n][k]        n = 0..tokens-1, r = 0..rows-1
//
// with x [tokens, cols] and y [tokens, rows] row-major, w, x and y all bfloat16 or all IEEE half, and sums in
// single precision. Absent weights count as zeros in tensor-core products: a NaN or an infinity in x[n]
// reaches every output of token n, as it does in a dense product.
//
// Needs: 1 <= tokens <= 16; any rows; cols a multiple of 8; x and the packed arrays 16-byte aligned,
// x_stride a multiple of 8; compute capability 8.0. Equal inputs give equal bits.
//
// How: a warp takes panels of 16 rows by 128 columns. A panel's values go from memory through registers into
// the warp's shared memory, as words that overlap by half, so that any two neighbours are one aligned word. A
// lane then makes its operands of mma m16n8k16: for two weights, a bytewise copy of their two bits is the
// mask of the word, and tells how far to move on. The warps of a thread block share out the columns of a few
// strips of 16 rows; those on the same columns meet x in the first-level cache.
#pragma once

#include <vector>

#include "kernels/sparse/cuda/product_call.h"

namespace prune::kernels::cuda {

inline constexpr int kMaxDecodeBitmaskTokens = 16;
inline constexpr int kPanelRows = 16;
inline constexpr int kPanelCols = 128;

// The neutral format, row-major: libprune/include/prune/packed.h. Who makes it answers for its offsets.
template <class Byte>
struct NeutralBitmask {
  Byte* values = nullptr;                // 16-bit [row_offsets[rows]]
  Byte* bitmask = nullptr;               // U8 [rows, cols / 8]: column j is bit j % 8 of byte j / 8
  const int64_t* row_offsets = nullptr;  // [rows + 1]
};

// The device's own order. Panels of 16 rows by 128 columns, 16 rows after 16 rows, padded with absent
// weights. Of a panel, lane l = 4g + t of a warp has 64 weights: rows g and g + 8 of columns 32q + 8t .. 32q
// + 8t + 7, q = 0..3. They are the A operands of eight mma m16n8k16 with their inner index renumbered, so
// that a lane's columns are neighbours: fragment f = 2q + h has columns c = 32q + 8t + 4h and up, in four
// pairs: row g, columns c, c+1 | row g + 8, the same | row g, columns c+2, c+3 | row g + 8, the same. Two
// words hold the lane's bits, 16 pairs each: with k = j / 2, pair j has its two bits at 7 - k and 15 - k
// where j is even, at 23 - k and 31 - k where it is odd. A panel's values are those of lane 0 in the order of
// its pairs, of lane 1, and so on, padded with zeros to 16 bytes.
struct MatrixBitmask {
  int rows = 0;
  int cols = 0;
  int most = 0;                      // values of the fullest panel, as pack_bitmask found it
  const void* masks = nullptr;       // 8 bytes a lane, 256 a panel
  const uint32_t* starts = nullptr;  // [panels + 1]: of the panels' values, in 16-byte units
  const void* values = nullptr;
};

constexpr int64_t bitmask_panels(int64_t rows, int64_t cols) {
  return (rows + kPanelRows - 1) / kPanelRows * ((cols + kPanelCols - 1) / kPanelCols);
}
// Bytes that suffice for the values, whatever the mask.
constexpr size_t bitmask_value_bytes(int64_t rows, int64_t cols, int64_t count) {
  return size_t(count / 8 + bitmask_panels(rows, cols)) * 16;
}

// The arrays of `to` <- the neutral format; *most (device memory) <- what MatrixBitmask asks for. to.most is
// not looked at.
Status pack_bitmask(const NeutralBitmask<const void>& from, const MatrixBitmask& to, int* most,
                    cudaStream_t stream);

// neutral <- packed, bit for bit what pack_bitmask took; to.row_offsets is read.
Status unpack_bitmask(const MatrixBitmask& from, const NeutralBitmask<void>& to, cudaStream_t stream);

// How a thread block's warps, strips * column_warps of them and at most 16, are put to work.
struct DecodeBitmaskPlan {
  int strips = 0;        // of 16 rows that a thread block owns
  int column_warps = 0;  // that share the columns of each
};

// The best guess for a device of so many multiprocessors, and all that are worth measuring.
DecodeBitmaskPlan plan_decode_bitmask(const MatrixBitmask& matrix, int tokens, int multiprocessors);
std::vector<DecodeBitmaskPlan> decode_bitmask_candidates();

Status decode_bitmask(const MatrixBitmask& matrix, const DecodeBitmaskPlan& plan, const ProductCall& call);

}  // namespace prune::kernels::cuda
