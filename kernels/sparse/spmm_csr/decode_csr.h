// Products with very sparse weights on the GPU, few tokens: 4 bytes a weight that is there, read once at
// memory bandwidth, for 90% zeros and more.
//
//   y[n][r] = sum over the stored weights (r, k) of w[r][k] * x[n][k]        n = 0..tokens-1, r = 0..rows-1
//
// with x [tokens, cols] and y [tokens, rows] row-major, w, x and y all bfloat16 or all IEEE half, and sums in
// single precision. Absent weights never touch x: a NaN there stays out of the sum.
//
// Needs: 1 <= tokens <= 16; any rows; 2 <= cols <= 65534, even; x and the packed arrays 16-byte aligned,
// x_stride a multiple of 8; compute capability 8.0, and shared memory for x of one token (2 bytes a column).
// Equal inputs give equal bits.
//
// How: each thread block holds x of 1, 2, 4 or 8 tokens in shared memory, a column's tokens side by side, and
// owns a range of rows, a warp a row at a time: 16 bytes of values and 16 of columns a lane. More tokens than
// fit are another pass over the weights.
#pragma once

#include "kernels/sparse/cuda/product_call.h"

namespace prune::kernels::cuda {

inline constexpr int kMaxDecodeCsrTokens = 16;

// The neutral format, in SciPy's names. Who makes it answers for indices and indptr: columns in range,
// offsets that ascend.
template <class Byte, class Index>
struct NeutralCsr {
  Byte* values = nullptr;           // 16-bit [indptr[rows]]
  Index* indices = nullptr;         // [indptr[rows]]
  const int64_t* indptr = nullptr;  // [rows + 1]
};

// The device's own order: a row's values and, in an array of its own, their columns in 16 bits, both in
// vectors of eight. A row begins with a vector; what is left of its last one has value 0 and column `cols`,
// where the kernel keeps a zero.
struct MatrixCsr {
  int rows = 0;
  int cols = 0;
  const uint32_t* starts = nullptr;  // [rows + 1]: of the rows, in vectors
  const void* values = nullptr;      // 16 bytes a vector
  const void* columns = nullptr;     // 16 bytes a vector
};

// Bytes that suffice for the values, and again for the columns.
constexpr size_t csr_vector_bytes(int64_t rows, int64_t count) { return size_t(count / 8 + rows) * 16; }

// The arrays of `to` <- the neutral format.
Status pack_csr(const NeutralCsr<const void, const int32_t>& from, const MatrixCsr& to, cudaStream_t stream);

// neutral <- packed, bit for bit what pack_csr took; to.indptr is read.
Status unpack_csr(const MatrixCsr& from, const NeutralCsr<void, int32_t>& to, cudaStream_t stream);

Status decode_csr(const MatrixCsr& matrix, const ProductCall& call);

}  // namespace prune::kernels::cuda
