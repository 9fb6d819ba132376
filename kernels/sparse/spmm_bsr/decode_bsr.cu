// Block-sparse decode: a thread block owns 16 rows, its warps share out their fragments. Weights go from
// memory straight to registers, a batch of 16-byte loads a lane at a time; enough warps are resident to keep
// memory busy. x comes through the first-level cache, 8 bytes a lane, already an operand.
#include "kernels/sparse/spmm_bsr/decode_bsr.h"

#include "kernels/sparse/cuda/launch.h"
#include "kernels/sparse/cuda/ptx.h"
#include "kernels/sparse/cuda/strip.h"

namespace prune::kernels::cuda {
namespace {

constexpr int kMaxWarps = 16;
constexpr int kBatch = 4;                 // fragments a warp has in flight: with more, fewer warps fit
constexpr int kResidentWarps = 132 * 32;  // that a large GPU wants to have

// Two blocks of kMaxWarps fit a multiprocessor: one loads while the other adds up. On 8.x the compiler would
// spill for that.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
constexpr int kLeastBlocks = 1;
#else
constexpr int kLeastBlocks = 2;
#endif

struct Arguments {
  const uint4* fragments;
  const int32_t* indices;
  const int64_t* indptr;
  const void* x;
  void* y;
  int64_t x_stride;
  int64_t y_stride;
  int rows;
  int tokens;
  int strips_a_block;
  int log_fragments;  // of a block's strip
};

// Where a strip's fragments are.
struct Strip {
  int64_t first_block;
  int count;
  int64_t first;  // fragment

  __device__ Strip(const int64_t* indptr, int strip, int strips_a_block, int log_fragments) {
    const int block_row = strip / strips_a_block;
    first_block = indptr[block_row];
    const int64_t blocks = indptr[block_row + 1] - first_block;
    count = int(blocks) << log_fragments;
    first = (first_block * strips_a_block + (strip - block_row * strips_a_block) * blocks) << log_fragments;
  }
};

// A warp's fragments at hand: their values and their columns.
struct Batch {
  uint4 values[kBatch];
  int column[kBatch];

  __device__ void load(const Arguments& args, const Strip& strip, int begin, int end, int lane) {
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      if (begin + i >= end) break;
      const int at = begin + i, mask = (1 << args.log_fragments) - 1;
      values[i] = ptx::load_once(args.fragments + (strip.first + at) * 32 + lane);
      column[i] =
          ((__ldg(args.indices + strip.first_block + (at >> args.log_fragments)) << args.log_fragments) |
           (at & mask)) *
          kStrip;
    }
  }
};

template <class T, int kBlocks>
__global__ void __launch_bounds__(32 * kMaxWarps, kLeastBlocks) decode_bsr_kernel(const Arguments args) {
  const int warp = int(threadIdx.x) / 32, lane = threadIdx.x & 31, warps = int(blockDim.x) / 32;
  const Strip strip(args.indptr, int(blockIdx.x), args.strips_a_block, args.log_fragments);
  int begin = int(int64_t(strip.count) * warp / warps);
  const int end = int(int64_t(strip.count) * (warp + 1) / warps);
  Batch batch;
  batch.load(args, strip, begin, end, lane);
#if __CUDA_ARCH__ >= 900
  ptx::launch_dependents();
  ptx::wait_for_prerequisites();
#endif
  // Absent tokens repeat the last: their products land in columns that nobody reads.
  const T* x[kBlocks];
#pragma unroll
  for (int b = 0; b < kBlocks; ++b) {
    const int n = min(8 * b + (lane >> 2), args.tokens - 1);
    x[b] = static_cast<const T*>(args.x) + n * args.x_stride + 4 * (lane & 3);
  }
  float sums[kBlocks][4] = {};
  while (begin < end) {
    uint2 tokens[kBatch][kBlocks];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      if (begin + i >= end) break;
#pragma unroll
      for (int b = 0; b < kBlocks; ++b)
        tokens[i][b] = *reinterpret_cast<const uint2*>(x[b] + batch.column[i]);
    }
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      if (begin + i >= end) break;
#pragma unroll
      for (int b = 0; b < kBlocks; ++b) ptx::mma_16x8x16<T>(sums[b], batch.values[i], tokens[i][b]);
    }
    begin += kBatch;
    batch.load(args, strip, begin, end, lane);
  }
  __shared__ float4 parts[kMaxWarps * kBlocks * 32];
  combine_strip<T, kBlocks>(parts, sums, {args.y, args.y_stride, args.rows, args.tokens}, int(blockIdx.x),
                            {0, 1, warp, warps}, lane);
}

// One thread block a strip. `kPack`: fragments <- values; otherwise back.
template <bool kPack>
__global__ void __launch_bounds__(256) rearrange(const int64_t* indptr, int strips_a_block, int log_fragments,
                                                 uint4* fragments, uint32_t* values) {
  const int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
  const Strip strip(indptr, int(blockIdx.x), strips_a_block, log_fragments);
  const int row0 = int(blockIdx.x) % strips_a_block * kStrip, words = (kStrip << log_fragments) / 2;
  for (int at = int(threadIdx.x) / 32; at < strip.count; at += 8) {
    const int64_t block = strip.first_block + (at >> log_fragments);
    const int column = (at & ((1 << log_fragments) - 1)) * kStrip + 4 * t;
    uint32_t* upper = values + (block * strips_a_block * kStrip + row0 + g) * words + column / 2;
    uint32_t* lower = upper + 8 * words;
    uint4& fragment = fragments[(strip.first + at) * 32 + lane];
    if constexpr (kPack) {
      fragment = make_uint4(upper[0], lower[0], upper[1], lower[1]);
    } else {
      const uint4 v = fragment;
      upper[0] = v.x, lower[0] = v.y, upper[1] = v.z, lower[1] = v.w;
    }
  }
}

bool block_fits(int size) { return size == 16 || size == 32 || size == 64 || size == 128; }
bool shape_fits(const MatrixBsr& m) {
  return block_fits(m.block_rows) && block_fits(m.block_cols) && m.rows >= m.block_rows &&
         m.cols >= m.block_cols && m.rows % m.block_rows == 0 && m.cols % m.block_cols == 0;
}
int log_fragments_of(const MatrixBsr& m) {
  return m.block_cols == 16 ? 0 : m.block_cols == 32 ? 1 : m.block_cols == 64 ? 2 : 3;
}
template <class T>
Status launch_for(const Arguments& args, int strips, const ProductCall& call) {
  int warps = 4;
  while (warps < kMaxWarps && strips * warps < kResidentWarps) warps *= 2;
  const auto kernel = call.tokens <= 8 ? decode_bsr_kernel<T, 1> : decode_bsr_kernel<T, 2>;
  return launch(kernel, {dim3(unsigned(strips)), 32 * warps}, call, args);
}

}  // namespace

Status pack_bsr(const MatrixBsr& matrix, const void* values, void* fragments, cudaStream_t stream) {
  if (!shape_fits(matrix)) return {Reason::kShape};
  if (!aligned16(values) || !aligned16(fragments)) return {Reason::kAlignment};
  rearrange<true><<<unsigned(matrix.rows / kStrip), 256, 0, stream>>>(
      matrix.indptr, matrix.block_rows / kStrip, log_fragments_of(matrix), static_cast<uint4*>(fragments),
      static_cast<uint32_t*>(const_cast<void*>(values)));
  return from_cuda(cudaGetLastError());
}

Status unpack_bsr(const MatrixBsr& matrix, void* values, cudaStream_t stream) {
  if (!shape_fits(matrix)) return {Reason::kShape};
  if (!aligned16(values) || !aligned16(matrix.fragments)) return {Reason::kAlignment};
  rearrange<false><<<unsigned(matrix.rows / kStrip), 256, 0, stream>>>(
      matrix.indptr, matrix.block_rows / kStrip, log_fragments_of(matrix),
      static_cast<uint4*>(const_cast<void*>(matrix.fragments)), static_cast<uint32_t*>(values));
  return from_cuda(cudaGetLastError());
}

Status decode_bsr(const MatrixBsr& matrix, const ProductCall& call) {
  if (!shape_fits(matrix) || call.tokens < 1 || call.tokens > kMaxDecodeBsrTokens ||
      call.x_stride < matrix.cols || call.y_stride < matrix.rows) {
    return {Reason::kShape};
  }
  if (!aligned16(matrix.fragments) || !aligned16(call.x) || call.x_stride % 8 != 0)
    return {Reason::kAlignment};
  const Arguments args{static_cast<const uint4*>(matrix.fragments),
                       matrix.indices,
                       matrix.indptr,
                       call.x,
                       call.y,
                       call.x_stride,
                       call.y_stride,
                       matrix.rows,
                       call.tokens,
                       matrix.block_rows / kStrip,
                       log_fragments_of(matrix)};
  const int strips = matrix.rows / kStrip;
  return call.element == Element::kF16 ? launch_for<__half>(args, strips, call)
                                       : launch_for<__nv_bfloat16>(args, strips, call);
}

}  // namespace prune::kernels::cuda
