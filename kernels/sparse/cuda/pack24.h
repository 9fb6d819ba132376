// 2:4 matrices in GPU memory: from the neutral format or from a dense matrix into the device's own order
// (frag24.h), and back.
//
// Sizes: rows >= 1; cols >= 64, a multiple of 64; anything else is Reason::kShape. Padding lives inside the
// stream only. All pointers are device pointers, the stream's 16-byte aligned. Work is queued on `stream`;
// nothing waits and nothing is allocated.
#pragma once

#include "kernels/sparse/cuda/frag24.h"
#include "kernels/sparse/cuda/status.h"

namespace prune::kernels::cuda {

// The neutral 2:4 format, row-major.
template <class Byte>
struct Neutral24 {
  Byte* values = nullptr;   // 16-bit [rows, cols/2]; 8-bit [rows, cols/2]; int4 [rows, cols/4]: a group's two
                            // values, low nibble first
  Byte* indices = nullptr;  // U8 [rows, cols/8]: a nibble idx0 + 4 * idx1 a group, low nibble first
  Byte* scales = nullptr;   // int4 only: bfloat16 [rows, ceil(cols/128)]
};

enum class Choose24 {
  kExact,  // the two weights that are not zero; groups with more are refused. -0 counts as zero, and is kept
           // where there is room
  kMagnitude,  // the two largest magnitudes, ties to the lower column: pruning and packing in one pass
};

// stream <- neutral. Groups whose nibble is not one of the six legal ones are refused: *refused (device
// memory) becomes the lowest row * cols + column of such a group's first weight, or 2^64 - 1 when there is
// none, and the stream is then not to be used.
Status pack24(Weight24 weight, int64_t rows, int64_t cols, const Neutral24<const void>& from, void* to,
              uint64_t* refused, cudaStream_t stream);

// stream <- dense 16-bit [rows, cols], `row_stride` elements from row to row (a multiple of 4; `from` 8-byte
// aligned). A group with fewer than two weights to keep takes the lowest free columns. *refused as above, for
// groups with more than two non-zeros.
Status pack24_dense(Choose24 choose, int64_t rows, int64_t cols, const void* from, int64_t row_stride,
                    void* to, uint64_t* refused, cudaStream_t stream);

// neutral <- stream, bit for bit what pack24 took.
Status unpack24(Weight24 weight, int64_t rows, int64_t cols, const void* from, const Neutral24<void>& to,
                cudaStream_t stream);

// dense 16-bit [rows, cols] <- stream of 16-bit values; pruned weights become +0.
Status unpack24_dense(int64_t rows, int64_t cols, const void* from, void* to, int64_t row_stride,
                      cudaStream_t stream);

}  // namespace prune::kernels::cuda
