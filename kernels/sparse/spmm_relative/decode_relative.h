// Products with unstructured sparse weights on the GPU, a few tokens: 2.5 bytes a weight that is there.
//
//   y[n][r] = sum over the stored weights (r, k) of w[r][k] * x[n][k]        n = 0..tokens-1, r = 0..rows-1
//
// with x [tokens, cols] and y [tokens, rows] row-major, w, x and y all bfloat16 or all IEEE half, and sums in
// single precision. Absent weights never touch x: a NaN there stays out of the sum.
//
// Needs: 1 <= tokens <= 8; any rows; 2 <= cols <= 65534, even; x and the packed arrays 16-byte aligned,
// x_stride a multiple of 8; compute capability 8.0, and shared memory for x of one token (2 bytes a column).
// Equal inputs give equal bits.
//
// How: relative indices of 4 bits (Han et al., Deep Compression, ICLR 2016; MACKO, arXiv 2511.13061). Each
// thread block holds x of 1, 2, 4 or 8 tokens in shared memory, a column's tokens side by side, and owns a
// range of rows. A lane takes eight entries at a time: 16 bytes of values and a word of codes, whose prefix
// sums are one multiplication; lanes on the same list of a row find where they begin by a scan. Tensor cores
// multiply eight tokens on eight lists, where x is finite: elsewhere an absent weight could touch it.
#pragma once

#include "kernels/sparse/cuda/product_call.h"
#include "kernels/sparse/spmm_csr/decode_csr.h"

namespace prune::kernels::cuda {

inline constexpr int kMaxDecodeRelativeTokens = 8;
inline constexpr int kRelativeLine = 8;  // vectors whose values are a line of the caches

// The device's own order. A row is L lists; list l has the columns L u + l, by their unit u. With 8 lists,
// loads of eight tokens of x by eight lanes never meet in a bank of shared memory; with one, the lanes of a
// row have equal work whatever the row's weights are.
//
// A list is made of entries, each a value and a 4-bit code. Where p of the list's units are passed (0 at its
// begin), an entry with code c of 0 to 14 is the weight of unit p + c, and p becomes p + c + 1; one with code
// 15 is no weight (its value is 0), and p becomes p + 15.
//
// Entries lie in vectors of eight: 16 bytes of values, and a word of codes in an array of its own, the first
// entry's in the lowest bits. What is left of a list's last vector has value 0, and code 15 until the columns
// are passed, then 0. A row has the first vectors of all its lists, then the second of those that have one,
// and so on. It begins with a line, so that its lanes' loads meet fewer of them; what is left of its last one
// says nothing.
struct MatrixRelative {
  int rows = 0;
  int cols = 0;
  int lists = 0;                      // of a row: 1 or 8
  const uint32_t* starts = nullptr;   // [rows + 1]: of the rows, in vectors
  const uint16_t* lengths = nullptr;  // [rows, lists], in vectors
  const void* values = nullptr;       // 16 bytes a vector
  const uint32_t* codes = nullptr;    // 4 bytes a vector
};

// indices <- the columns of a bitmask (U8 [rows, cols / 8]: column j is bit j % 8 of byte j / 8), row r's
// from row_offsets[r] on: what makes CSR of the neutral bitmask format. cols is a multiple of 8.
Status list_columns(const void* bitmask, int rows, int cols, const int64_t* row_offsets, int32_t* indices,
                    cudaStream_t stream);

// to.lengths, and to.starts <- where the rows will be, and so in starts[rows] how many vectors the matrix
// takes, unused ones with them.
Status count_relative(const NeutralCsr<const void, const int32_t>& from, const MatrixRelative& to,
                      cudaStream_t stream);

// The values and codes of `to`, which is counted, <- the neutral format.
Status pack_relative(const NeutralCsr<const void, const int32_t>& from, const MatrixRelative& to,
                     cudaStream_t stream);

// neutral <- packed, bit for bit what pack_relative took; to.indptr is read.
Status unpack_relative(const MatrixRelative& from, const NeutralCsr<void, int32_t>& to, cudaStream_t stream);

// The lists with which so many tokens are multiplied: one shares out a row's weights evenly, eight don't meet
// in banks of shared memory, which holds up three tokens and more.
constexpr int relative_lists_for(int tokens) { return tokens <= 2 ? 1 : 8; }

// Lanes that share a row: 8, 16 or 32; by measurements with one list on an H200 (decode_relative_bench
// --sweep).
int plan_decode_relative(const MatrixRelative& matrix, int multiprocessors);

Status decode_relative(const MatrixRelative& matrix, int lanes, const ProductCall& call);

}  // namespace prune::kernels::cuda
