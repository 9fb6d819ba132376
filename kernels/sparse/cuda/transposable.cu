#include "kernels/sparse/cuda/transposable.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

namespace prune::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kPairs = 6;  // of a row's four columns, two are kept

// The columns of pair i, a bit each; pair 5 - i has the others.
__host__ __device__ constexpr uint32_t columns_of(int i) {
  return i == 0 ? 0b0011 : i == 1 ? 0b0101 : i == 2 ? 0b0110 : i == 3 ? 0b1001 : i == 4 ? 0b1010 : 0b1100;
}

// A choice for two rows: its sum and its eight bits. The better of two, the first where they are equal.
struct Choice {
  float sum;
  uint32_t bits;

  __device__ Choice better(const Choice& other) const { return other.sum > sum ? other : *this; }
};

// Clamped, so that sums of eight stay finite and in order.
template <class T>
__device__ inline float magnitude(uint32_t bits) {
  bits &= 0x7fff;
  if constexpr (__is_same(T, __half)) return __half2float(__ushort_as_half(uint16_t(min(bits, 0x7bffu))));
  return __uint_as_float(min(bits, 0x7d00u) << 16);
}

struct RowPairs {
  float sums[kPairs];

  template <class T>
  __device__ static RowPairs of(uint2 row) {
    const float w[4] = {magnitude<T>(row.x), magnitude<T>(row.x >> 16), magnitude<T>(row.y),
                        magnitude<T>(row.y >> 16)};
    return {{w[0] + w[1], w[0] + w[2], w[1] + w[2], w[0] + w[3], w[1] + w[3], w[2] + w[3]}};
  }
};

// Two rows that keep pairs i and j, the first row's bits low.
__device__ inline Choice two_rows(const RowPairs& a, const RowPairs& b, int i, int j) {
  return {a.sums[i] + b.sums[j], columns_of(i) | columns_of(j) << 4};
}

// What two rows can leave to the other two. With pairs i and j, columns in both are used up, columns in
// neither are wanted twice: the other rows' pairs are then i' and j' with the same columns in both and in
// neither, exchanged.
//   i = j: the others are both 5 - i.   i + j = 5: every column once, and the others are any such two.
//   else: the others are 5 - i and 5 - j, in either order.
__device__ inline Choice best_once(const RowPairs& a, const RowPairs& b) {
  Choice best = two_rows(a, b, 0, 5);
#pragma unroll
  for (int i = 1; i < kPairs; ++i) best = best.better(two_rows(a, b, i, 5 - i));
  return best;
}
__device__ inline Choice best_order(const RowPairs& a, const RowPairs& b, int i, int j) {
  return i == j ? two_rows(a, b, i, i) : two_rows(a, b, i, j).better(two_rows(a, b, j, i));
}

// The bits of the best choice of 16, row by row.
__device__ inline uint32_t choose(const RowPairs (&rows)[4]) {
  const auto join = [](const Choice& upper, const Choice& lower) {
    return Choice{upper.sum + lower.sum, upper.bits | lower.bits << 8};
  };
  Choice best = join(best_once(rows[0], rows[1]), best_once(rows[2], rows[3]));
#pragma unroll
  for (int i = 0; i < kPairs; ++i) {
#pragma unroll
    for (int j = i; j < kPairs; ++j) {
      if (i + j == 5) continue;
      best =
          best.better(join(best_order(rows[0], rows[1], i, j), best_order(rows[2], rows[3], 5 - i, 5 - j)));
    }
  }
  return best.bits;
}

// One thread a tile; neighbours share the bytes of the mask.
template <class T>
__global__ void __launch_bounds__(kThreads)
    choose_masks(int64_t tile_rows, int64_t tile_cols, const uint16_t* from, int64_t row_stride,
                 uint8_t* bitmask, uint16_t* pruned) {
  const int64_t index = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t row = index / tile_cols * 4, col = index % tile_cols * 4;
  const bool there = index < tile_rows * tile_cols;
  uint2 words[4] = {};
  RowPairs pairs[4];
#pragma unroll
  for (int r = 0; r < 4; ++r) {
    if (there) words[r] = *reinterpret_cast<const uint2*>(from + (row + r) * row_stride + col);
  }
#pragma unroll
  for (int r = 0; r < 4; ++r) pairs[r] = RowPairs::of<T>(words[r]);
  const uint32_t mask = choose(pairs), right = __shfl_down_sync(~0u, mask, 1);
#pragma unroll
  for (int r = 0; r < 4; ++r) {
    const uint32_t own = mask >> (4 * r) & 15;
    if (there && col % 8 == 0)
      bitmask[((row + r) * tile_cols + col / 4) / 2] = uint8_t(own | (right >> (4 * r) & 15) << 4);
    if (there && pruned != nullptr) {
      const auto halves = [](uint32_t two) { return (two & 1) * 0xffff | (two >> 1 & 1) * 0xffff0000; };
      *reinterpret_cast<uint2*>(pruned + (row + r) * row_stride + col) =
          make_uint2(words[r].x & halves(own), words[r].y & halves(own >> 2));
    }
  }
}

}  // namespace

Status transposable_mask(Element element, int64_t rows, int64_t cols, const void* from, int64_t row_stride,
                         void* bitmask, void* pruned, cudaStream_t stream) {
  if (rows < 4 || rows % 4 != 0 || cols < 8 || cols % 8 != 0 || row_stride < cols) return {Reason::kShape};
  if (row_stride % 4 != 0 || reinterpret_cast<uintptr_t>(from) % 8 != 0 ||
      reinterpret_cast<uintptr_t>(pruned) % 8 != 0) {
    return {Reason::kAlignment};
  }
  const int64_t tiles = rows / 4 * (cols / 4);
  const auto kernel = element == Element::kF16 ? choose_masks<__half> : choose_masks<__nv_bfloat16>;
  kernel<<<unsigned((tiles + kThreads - 1) / kThreads), kThreads, 0, stream>>>(
      rows / 4, cols / 4, static_cast<const uint16_t*>(from), row_stride, static_cast<uint8_t*>(bitmask),
      static_cast<uint16_t*>(pruned));
  return from_cuda(cudaGetLastError());
}

}  // namespace prune::kernels::cuda
