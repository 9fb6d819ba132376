// Bitmasks into the device's own order (decode_bitmask.h), and back. It happens once.
#include "kernels/sparse/cuda/scan.h"
#include "kernels/sparse/spmm_bitmask/panel.h"

namespace prune::kernels::cuda {
namespace {

// 128 columns of a row, as the neutral format has them.
struct RowBits {
  uint32_t words[4] = {};

  __device__ RowBits(const uint8_t* bitmask, int row, int rows, int panel, int row_bytes) {
    if (row >= rows) return;
    const uint8_t* from = bitmask + int64_t(row) * row_bytes + panel * 16;
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      if (panel * 16 + i < row_bytes) words[i / 4] |= uint32_t(from[i]) << (8 * (i % 4));
    }
  }
  __device__ int before(int column) const {
    int count = 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int bits = min(max(column - 32 * i, 0), 32);
      count += __popc(words[i] & uint32_t((uint64_t(1) << bits) - 1));
    }
    return count;
  }
  // A lane's four columns of fragment f.
  __device__ uint32_t nibble(int f, int t) const { return words[f / 2] >> (8 * t + 4 * (f % 2)) & 15; }
};

// The place of bit `which` of register r of fragment f in its word.
constexpr int bit_place(int f, int r, int which) {
  return 16 * (r % 2) + 8 * which + 7 - (2 * (f % 4) + r / 2);
}

__device__ inline uint2 bits_of_lane(const RowBits& upper, const RowBits& lower, int t) {
  uint32_t word[2] = {};
#pragma unroll
  for (int f = 0; f < 8; ++f) {
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      const uint32_t pair = (r % 2 ? lower : upper).nibble(f, t) >> (r / 2 * 2);
      word[f / 4] |= (pair & 1) << bit_place(f, r, 0) | (pair >> 1 & 1) << bit_place(f, r, 1);
    }
  }
  return {word[0], word[1]};
}

// One warp a panel: its masks and how many vectors its values take.
__global__ void __launch_bounds__(32) count_panels(const uint8_t* bitmask, int rows, int cols, int panels,
                                                   uint2* masks, uint32_t* counts, int* most) {
  const int strip = int(blockIdx.x) / panels, panel = int(blockIdx.x) % panels, lane = int(threadIdx.x);
  const int row = strip * kStrip + (lane >> 2);
  const RowBits upper(bitmask, row, rows, panel, cols / 8), lower(bitmask, row + 8, rows, panel, cols / 8);
  const uint2 bits = bits_of_lane(upper, lower, lane & 3);
  masks[int64_t(blockIdx.x) * 32 + lane] = bits;
  int sum = __popc(bits.x) + __popc(bits.y);
  for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(~0u, sum, step);
  if (lane == 0) {
    counts[blockIdx.x] = uint32_t(sum + 7) / 8;
    atomicMax(most, sum);
  }
}

// One warp a strip, panel after panel: packed values <- row-major ones, or back.
template <bool kPack>
__global__ void __launch_bounds__(32)
    move_values(const uint8_t* bitmask, const int64_t* row_offsets, int rows, int cols, int panels,
                const uint2* masks, const uint32_t* starts, uint16_t* packed, uint16_t* values) {
  const int lane = int(threadIdx.x), g = lane >> 2, t = lane & 3, row = int(blockIdx.x) * kStrip + g;
  int64_t base[2] = {row < rows ? row_offsets[row] : 0, row + 8 < rows ? row_offsets[row + 8] : 0};
  for (int panel = 0; panel < panels; ++panel) {
    const int64_t index = int64_t(blockIdx.x) * panels + panel;
    const RowBits rows_bits[2] = {{bitmask, row, rows, panel, cols / 8},
                                  {bitmask, row + 8, rows, panel, cols / 8}};
    const uint2 bits = masks[index * 32 + lane];
    const int before = values_before(bits, lane);
    uint16_t* at = packed + int64_t(starts[index]) * 8 + before;
#pragma unroll
    for (int f = 0; f < 8; ++f) {
      for (int element = 0; element < 8; ++element) {
        const int r = element / 2, which = element % 2;
        if ((f < 4 ? bits.x : bits.y) >> bit_place(f, r, which) & 1) {
          const int column = 32 * (f / 2) + 8 * t + 4 * (f % 2) + r / 2 * 2 + which;
          uint16_t& value = values[base[r % 2] + rows_bits[r % 2].before(column)];
          if constexpr (kPack) {
            *at++ = value;
          } else {
            value = *at++;
          }
        }
      }
    }
    const int count = __shfl_sync(~0u, before + __popc(bits.x) + __popc(bits.y), 31);
    if (kPack && count + lane < (count + 7) / 8 * 8) packed[int64_t(starts[index]) * 8 + count + lane] = 0;
    for (int i = 0; i < 2; ++i) base[i] += rows_bits[i].before(kPanelCols);
  }
}

// One warp a panel: the neutral bits.
__global__ void __launch_bounds__(32)
    restore_bits(const uint2* masks, int rows, int cols, int panels, uint8_t* bitmask) {
  const int strip = int(blockIdx.x) / panels, panel = int(blockIdx.x) % panels, lane = int(threadIdx.x);
  const int row = strip * kStrip + (lane >> 2), t = lane & 3;
  const uint2 bits = masks[int64_t(blockIdx.x) * 32 + lane];
#pragma unroll
  for (int q = 0; q < 4; ++q) {
    uint32_t bytes[2] = {};  // of rows g and g + 8
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      const int f = 2 * q + i / 8, r = i % 8 / 2, which = i % 2;
      bytes[r % 2] |= ((f < 4 ? bits.x : bits.y) >> bit_place(f, r, which) & 1)
                      << (4 * (f % 2) + r / 2 * 2 + which);
    }
    const int byte = panel * 16 + 4 * q + t;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if (row + 8 * i < rows && byte < cols / 8)
        bitmask[int64_t(row + 8 * i) * (cols / 8) + byte] = uint8_t(bytes[i]);
    }
  }
}

}  // namespace

Status pack_bitmask(const NeutralBitmask<const void>& from, const MatrixBitmask& to, int* most,
                    cudaStream_t stream) {
  if (!shape_fits(to)) return {Reason::kShape};
  if (!aligned16(to.masks) || !aligned16(to.values)) return {Reason::kAlignment};
  const int64_t panels = bitmask_panels(to.rows, to.cols);
  const auto* bitmask = static_cast<const uint8_t*>(from.bitmask);
  auto* masks = static_cast<uint2*>(const_cast<void*>(to.masks));
  uint32_t* starts = const_cast<uint32_t*>(to.starts);
  Status s = from_cuda(cudaMemsetAsync(most, 0, sizeof(int), stream));
  if (!s.ok()) return s;
  count_panels<<<unsigned(panels), 32, 0, stream>>>(bitmask, to.rows, to.cols, panels_of(to), masks, starts,
                                                    most);
  s = from_cuda(cudaGetLastError());
  if (s.ok()) s = counts_to_starts(starts, panels, stream);
  if (!s.ok()) return s;
  move_values<true><<<unsigned(strips_of(to)), 32, 0, stream>>>(
      bitmask, from.row_offsets, to.rows, to.cols, panels_of(to), masks, starts,
      static_cast<uint16_t*>(const_cast<void*>(to.values)),
      static_cast<uint16_t*>(const_cast<void*>(from.values)));
  return from_cuda(cudaGetLastError());
}

Status unpack_bitmask(const MatrixBitmask& from, const NeutralBitmask<void>& to, cudaStream_t stream) {
  if (!shape_fits(from)) return {Reason::kShape};
  if (!aligned16(from.masks) || !aligned16(from.values)) return {Reason::kAlignment};
  const auto* masks = static_cast<const uint2*>(from.masks);
  auto* bitmask = static_cast<uint8_t*>(to.bitmask);
  restore_bits<<<unsigned(bitmask_panels(from.rows, from.cols)), 32, 0, stream>>>(masks, from.rows, from.cols,
                                                                                  panels_of(from), bitmask);
  const Status s = from_cuda(cudaGetLastError());
  if (!s.ok()) return s;
  move_values<false><<<unsigned(strips_of(from)), 32, 0, stream>>>(
      bitmask, to.row_offsets, from.rows, from.cols, panels_of(from), masks, from.starts,
      static_cast<uint16_t*>(const_cast<void*>(from.values)), static_cast<uint16_t*>(to.values));
  return from_cuda(cudaGetLastError());
}

}  // namespace prune::kernels::cuda
