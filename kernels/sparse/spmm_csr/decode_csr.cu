#include "kernels/sparse/spmm_csr/decode_csr.h"

#include <algorithm>

#include "kernels/sparse/cuda/gathered_x.h"
#include "kernels/sparse/cuda/launch.h"
#include "kernels/sparse/cuda/ptx.h"
#include "kernels/sparse/cuda/scan.h"

namespace prune::kernels::cuda {
namespace {

constexpr int kWarps = kGatherThreads / 32;
constexpr int kZeros = 1;  // columns that what fills up the last vectors names

struct Arguments {
  const uint32_t* starts;
  const uint4* values;
  const uint4* columns;
  GatheredX x;
  void* y;
  int64_t y_stride;
  RowShares rows;
};

// Lane's next vectors of a row, in flight.
template <int kBatch>
struct Batch {
  uint4 values[kBatch];
  uint4 columns[kBatch];

  __device__ void load(const Arguments& args, uint32_t begin, uint32_t end, int lane) {
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const uint32_t at = begin + uint32_t(32 * i + lane);
      if (at >= end) break;
      values[i] = ptx::load_once(args.values + at);
      columns[i] = ptx::load_once(args.columns + at);
    }
  }
};

// The columns' addresses follow from x's, in shared memory.
template <class T, int kTokens>
__device__ inline void add_vector(float (&sums)[kTokens], const uint4& values, const uint4& columns,
                                  uint32_t x) {
  const uint32_t value[4] = {values.x, values.y, values.z, values.w};
  const uint32_t column[4] = {columns.x, columns.y, columns.z, columns.w};
  constexpr uint32_t kBytes = 2 * kTokens;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const auto first = Column<kTokens>::load(x + (column[i] & 0xffff) * kBytes);
    const auto second = Column<kTokens>::load(x + (column[i] >> 16) * kBytes);
    first.template add<T>(sums, lower<T>(value[i]));
    second.template add<T>(sums, upper<T>(value[i]));
  }
}

// y of one row <- the sums of all lanes.
template <class T, int kTokens>
__device__ inline void finish_row(const Arguments& args, float (&sums)[kTokens], int token0, int row,
                                  int lane) {
#pragma unroll
  for (int n = 0; n < kTokens; ++n) {
#pragma unroll
    for (int step = 16; step > 0; step /= 2) sums[n] += __shfl_xor_sync(~0u, sums[n], step);
    if (lane == n && token0 + n < args.x.tokens)
      static_cast<T*>(args.y)[(token0 + n) * args.y_stride + row] = T(sums[n]);
    sums[n] = 0;
  }
}

// Where the rows of one warp begin and end, 32 rows at a time: a lane knows one.
struct RowRanges {
  uint2 own;

  __device__ RowRanges(const Arguments& args, int row, int end, int lane) {
    const int at = row + lane * kWarps;
    own = at < end ? uint2{__ldg(args.starts + at), __ldg(args.starts + at + 1)} : uint2{0, 0};
  }
  __device__ uint2 operator[](int i) const {
    return {__shfl_sync(~0u, own.x, i), __shfl_sync(~0u, own.y, i)};
  }
};

template <class T, int kTokens>
__global__ void __launch_bounds__(kGatherThreads, 1) decode_csr_kernel(const Arguments args) {
  extern __shared__ __align__(16) uint8_t storage[];
  const uint32_t x = ptx::shared_address(storage);
  const int warp = int(threadIdx.x) / 32, lane = threadIdx.x & 31, token0 = int(blockIdx.y) * kTokens;
  const int end = args.rows.begin(int(blockIdx.x) + 1);
  int row = args.rows.begin(int(blockIdx.x)) + warp;
  RowRanges ranges(args, row, end, lane);
  SharedColumns<T, kTokens> columns(args.x, token0);
  if (args.x.is_ready) columns.fetch();
  uint2 range = ranges[0];
  constexpr int kBatch = kTokens < 8 ? 2 : 1;  // what the registers allow
  Batch<kBatch> batch;
  batch.load(args, range.x, range.y, lane);
#if __CUDA_ARCH__ >= 900
  ptx::launch_dependents();
  ptx::wait_for_prerequisites();
#endif
  if (!args.x.is_ready) columns.fetch();
  columns.template store<kZeros>(storage);
  __syncthreads();
  float sums[kTokens] = {};
  for (int done = 1; row < end; row += kWarps, ++done) {
    while (range.x < range.y) {
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        if (range.x + uint32_t(32 * i + lane) < range.y)
          add_vector<T, kTokens>(sums, batch.values[i], batch.columns[i], x);
      }
      range.x += 32 * kBatch;
      if (range.x < range.y) batch.load(args, range.x, range.y, lane);
    }
    if (done % 32 == 0) ranges = RowRanges(args, row + kWarps, end, lane);
    range = ranges[done % 32];
    batch.load(args, range.x, range.y, lane);
    finish_row<T, kTokens>(args, sums, token0, row, lane);
  }
}

// --- packing

__global__ void __launch_bounds__(256) count_vectors(const int64_t* indptr, int rows, uint32_t* counts) {
  const int row = int(blockIdx.x * 256 + threadIdx.x);
  if (row < rows) counts[row] = uint32_t((indptr[row + 1] - indptr[row] + 7) / 8);
}

// One block a row. `kPack`: vectors <- neutral; otherwise back.
template <bool kPack>
__global__ void __launch_bounds__(128)
    move_rows(const int64_t* indptr, const uint32_t* starts, int cols, uint16_t* packed_values,
              uint16_t* packed_columns, uint16_t* values, int32_t* indices) {
  const int64_t begin = indptr[blockIdx.x], count = indptr[blockIdx.x + 1] - begin;
  const int64_t to = int64_t(starts[blockIdx.x]) * 8;
  for (int64_t i = threadIdx.x; i < (kPack ? (count + 7) / 8 * 8 : count); i += 128) {
    if constexpr (kPack) {
      packed_values[to + i] = i < count ? values[begin + i] : uint16_t(0);
      packed_columns[to + i] = uint16_t(i < count ? indices[begin + i] : cols);
    } else {
      values[begin + i] = packed_values[to + i];
      indices[begin + i] = packed_columns[to + i];
    }
  }
}

bool shape_fits(const MatrixCsr& m) {
  return m.rows >= 1 && m.cols >= 2 && m.cols <= 65534 && m.cols % 2 == 0;
}
uint16_t* halves(const void* pointer) { return static_cast<uint16_t*>(const_cast<void*>(pointer)); }

using Kernel = void (*)(Arguments);
template <class T>
Kernel kernel_for(int tokens) {
  if (tokens == 1) return decode_csr_kernel<T, 1>;
  if (tokens == 2) return decode_csr_kernel<T, 2>;
  if (tokens == 4) return decode_csr_kernel<T, 4>;
  return decode_csr_kernel<T, 8>;
}

}  // namespace

Status pack_csr(const NeutralCsr<const void, const int32_t>& from, const MatrixCsr& to, cudaStream_t stream) {
  if (!shape_fits(to)) return {Reason::kShape};
  if (!aligned16(to.values) || !aligned16(to.columns)) return {Reason::kAlignment};
  uint32_t* starts = const_cast<uint32_t*>(to.starts);
  count_vectors<<<unsigned(to.rows + 255) / 256, 256, 0, stream>>>(from.indptr, to.rows, starts);
  Status s = from_cuda(cudaGetLastError());
  if (s.ok()) s = counts_to_starts(starts, to.rows, stream);
  if (!s.ok()) return s;
  move_rows<true><<<unsigned(to.rows), 128, 0, stream>>>(from.indptr, starts, to.cols, halves(to.values),
                                                         halves(to.columns), halves(from.values),
                                                         const_cast<int32_t*>(from.indices));
  return from_cuda(cudaGetLastError());
}

Status unpack_csr(const MatrixCsr& from, const NeutralCsr<void, int32_t>& to, cudaStream_t stream) {
  if (!shape_fits(from)) return {Reason::kShape};
  move_rows<false><<<unsigned(from.rows), 128, 0, stream>>>(to.indptr, from.starts, from.cols,
                                                            halves(from.values), halves(from.columns),
                                                            halves(to.values), to.indices);
  return from_cuda(cudaGetLastError());
}

Status decode_csr(const MatrixCsr& matrix, const ProductCall& call) {
  if (!shape_fits(matrix) || call.tokens < 1 || call.tokens > kMaxDecodeCsrTokens ||
      call.x_stride < matrix.cols || call.y_stride < matrix.rows) {
    return {Reason::kShape};
  }
  if (!aligned16(matrix.values) || !aligned16(matrix.columns) || !aligned16(call.x) || call.x_stride % 8 != 0)
    return {Reason::kAlignment};
  Device device;
  if (const Status s = current_device(&device); !s.ok()) return s;
  const SharedX share(matrix.cols + kZeros, call.tokens, device.shared_bytes);
  if (share.tokens == 0) return {Reason::kDevice};
  const Kernel kernel = call.element == Element::kF16 ? kernel_for<__half>(share.tokens)
                                                      : kernel_for<__nv_bfloat16>(share.tokens);
  const int row_blocks = std::min(device.multiprocessors, matrix.rows);
  const Arguments args{matrix.starts,
                       static_cast<const uint4*>(matrix.values),
                       static_cast<const uint4*>(matrix.columns),
                       {call.x, call.x_stride, matrix.cols, call.tokens, !call.overlap_previous},
                       call.y,
                       call.y_stride,
                       RowShares(matrix.rows, row_blocks)};
  return launch(kernel, {share.blocks(call.tokens, row_blocks), kGatherThreads, share.bytes}, call, args);
}

}  // namespace prune::kernels::cuda
