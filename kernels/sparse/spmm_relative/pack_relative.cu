// CSR into relative indices (decode_relative.h), and back. It happens once.
#include "kernels/sparse/cuda/scan.h"
#include "kernels/sparse/spmm_relative/decode_relative.h"

namespace prune::kernels::cuda {
namespace {

constexpr int kFarthest = 15;  // columns that a code without a weight passes

// Of weight i of a row: the absent ones since the weight before.
__device__ inline int absent_before(const int32_t* indices, int64_t begin, int64_t i) {
  return indices[i] - (i == begin ? -1 : indices[i - 1]) - 1;
}

__device__ inline uint32_t sum_to_lane(uint32_t sum, int lane) {
  for (int step = 1; step < 32; step *= 2) {
    const uint32_t left = __shfl_up_sync(~0u, sum, step);
    if (lane >= step) sum += left;
  }
  return sum;
}

// One warp a row of bits, a byte a lane.
__global__ void __launch_bounds__(32)
    list_bits(const uint8_t* bitmask, int row_bytes, const int64_t* row_offsets, int32_t* indices) {
  const int lane = int(threadIdx.x);
  const uint8_t* from = bitmask + int64_t(blockIdx.x) * row_bytes;
  int64_t to = row_offsets[blockIdx.x];
  for (int first = 0; first < row_bytes; first += 32) {
    const uint32_t bits = first + lane < row_bytes ? from[first + lane] : 0;
    const uint32_t sum = sum_to_lane(uint32_t(__popc(bits)), lane);
    int64_t at = to + sum - __popc(bits);
    for (int bit = 0; bit < 8; ++bit) {
      if (bits >> bit & 1) indices[at++] = 8 * (first + lane) + bit;
    }
    to += __shfl_sync(~0u, sum, 31);
  }
}

// One warp a row.
__global__ void __launch_bounds__(32)
    count_vectors(const int32_t* indices, const int64_t* indptr, uint32_t* counts) {
  const int64_t begin = indptr[blockIdx.x], end = indptr[blockIdx.x + 1];
  uint32_t entries = 0;
  for (int64_t i = begin + threadIdx.x; i < end; i += 32)
    entries += 1 + uint32_t(absent_before(indices, begin, i)) / kFarthest;
  entries = sum_to_lane(entries, int(threadIdx.x));
  if (threadIdx.x == 31) counts[blockIdx.x] = (entries + 7) / 8;
}

// One warp a row. Every code is 15 and every value 0 before.
__global__ void __launch_bounds__(32)
    fill_rows(const int32_t* indices, const int64_t* indptr, const uint16_t* from, const uint32_t* starts,
              uint32_t* codes, uint16_t* values) {
  const int lane = int(threadIdx.x);
  const int64_t begin = indptr[blockIdx.x], end = indptr[blockIdx.x + 1];
  int64_t to = int64_t(starts[blockIdx.x]) * 8;
  for (int64_t first = begin; first < end; first += 32) {
    const int64_t i = first + lane;
    const uint32_t absent = i < end ? uint32_t(absent_before(indices, begin, i)) : 0;
    const uint32_t entries = sum_to_lane(i < end ? 1 + absent / kFarthest : 0, lane);
    if (i < end) {
      const int64_t at = to + entries - 1;
      values[at] = from[i];
      atomicAnd(codes + at / 8, ~((15 ^ absent % kFarthest) << (4 * (at % 8))));
    }
    to += __shfl_sync(~0u, entries, 31);
  }
}

// One thread a row.
__global__ void __launch_bounds__(64)
    restore_rows(const uint32_t* codes, const uint16_t* values, const uint32_t* starts, int rows,
                 const int64_t* indptr, int32_t* indices, uint16_t* to) {
  const int row = int(blockIdx.x * 64 + threadIdx.x);
  if (row >= rows) return;
  int64_t i = indptr[row];
  int passed = 0;
  for (int64_t at = int64_t(starts[row]) * 8; at < int64_t(starts[row + 1]) * 8; ++at) {
    const int code = int(codes[at / 8] >> (4 * (at % 8)) & 15);
    if (code < 15) {
      to[i] = values[at];
      indices[i++] = passed + code;
    }
    passed += code < 15 ? code + 1 : kFarthest;
  }
}

bool shape_fits(const MatrixRelative& m) {
  return m.rows >= 1 && m.cols >= 2 && m.cols <= 65534 && m.cols % 2 == 0;
}

}  // namespace

Status list_columns(const void* bitmask, int rows, int cols, const int64_t* row_offsets, int32_t* indices,
                    cudaStream_t stream) {
  if (rows < 1 || cols < 8 || cols % 8 != 0) return {Reason::kShape};
  list_bits<<<unsigned(rows), 32, 0, stream>>>(static_cast<const uint8_t*>(bitmask), cols / 8, row_offsets,
                                               indices);
  return from_cuda(cudaGetLastError());
}

Status count_relative(const NeutralCsr<const void, const int32_t>& from, const MatrixRelative& to,
                      cudaStream_t stream) {
  if (!shape_fits(to)) return {Reason::kShape};
  uint32_t* starts = const_cast<uint32_t*>(to.starts);
  count_vectors<<<unsigned(to.rows), 32, 0, stream>>>(from.indices, from.indptr, starts);
  const Status s = from_cuda(cudaGetLastError());
  return s.ok() ? counts_to_starts(starts, to.rows, stream) : s;
}

Status pack_relative(const NeutralCsr<const void, const int32_t>& from, const MatrixRelative& to,
                     uint32_t vectors, cudaStream_t stream) {
  if (!shape_fits(to)) return {Reason::kShape};
  if (!aligned16(to.values)) return {Reason::kAlignment};
  auto* values = static_cast<uint16_t*>(const_cast<void*>(to.values));
  auto* codes = const_cast<uint32_t*>(to.codes);
  Status s = from_cuda(cudaMemsetAsync(values, 0, size_t(vectors) * 16, stream));
  if (s.ok()) s = from_cuda(cudaMemsetAsync(codes, 0xff, size_t(vectors) * 4, stream));
  if (!s.ok()) return s;
  fill_rows<<<unsigned(to.rows), 32, 0, stream>>>(
      from.indices, from.indptr, static_cast<const uint16_t*>(from.values), to.starts, codes, values);
  return from_cuda(cudaGetLastError());
}

Status unpack_relative(const MatrixRelative& from, const NeutralCsr<void, int32_t>& to, cudaStream_t stream) {
  if (!shape_fits(from)) return {Reason::kShape};
  restore_rows<<<unsigned(from.rows + 63) / 64, 64, 0, stream>>>(
      from.codes, static_cast<const uint16_t*>(from.values), from.starts, from.rows, to.indptr, to.indices,
      static_cast<uint16_t*>(to.values));
  return from_cuda(cudaGetLastError());
}

}  // namespace prune::kernels::cuda
