// 2:4 streams back to the neutral format and to dense matrices.
#include "kernels/sparse/cuda/tile24.h"

namespace prune::kernels::cuda {
namespace {

template <Weight24 kWeight>
__device__ inline void unpack_metadata(const uint8_t* tile, const TilePlace<kWeight>& place, int64_t rows,
                                       int64_t cols, int lane, void* indices) {
  for (int b = 0; b < kMetadataBlocks<kWeight>; ++b) {
    const uint4 words =
        *reinterpret_cast<const uint4*>(tile + value_bytes24(kWeight) + b * kMetadataBytes24 + lane * 16);
    const uint32_t word[4] = {words.x, words.y, words.z, words.w};
    for (int s = 0; s < 4; ++s) {
      for (int half = 0; half < 2; ++half) {
        const PairPosition where = four_nibbles<kWeight>(b, s, half, lane);
        const int64_t row = place.row0 + where.row, chunk = place.chunk0 + where.chunk;
        if (row >= rows || chunk >= cols / 4) continue;
        const int64_t at = row * (cols / 8) + chunk / 2;
        *reinterpret_cast<uint16_t*>(static_cast<uint8_t*>(indices) + at) = uint16_t(word[s] >> (16 * half));
      }
    }
  }
}

template <Weight24 kWeight>
__global__ void __launch_bounds__(kTileWarps * 32)
    unpack_tiles(const uint8_t* stream, int64_t rows, int64_t cols, Neutral24<void> to) {
  const int lane = threadIdx.x & 31;
  const TilePlace<kWeight> place(rows, cols);
  if (!place.there) return;
  const uint8_t* tile = stream + place.index * tile_bytes24(kWeight);
#pragma unroll
  for (int f = 0; f < 8; ++f) {
    Pairs<kWeight> pair;
    load_pairs<kWeight>(tile, f, lane, pair);
    for (int p = 0; p < kPairs<kWeight>; ++p) {
      const PairPosition where = pair_position<kWeight>(f, p, lane);
      const int64_t row = place.row0 + where.row, chunk = place.chunk0 + where.chunk,
                    at = row * (cols / 4) + chunk;
      if (row >= rows || chunk >= cols / 4) continue;
      if constexpr (kWeight == Weight24::k16) {
        static_cast<uint32_t*>(to.values)[at] = pair[p];
      } else if constexpr (kWeight == Weight24::kInt4) {
        static_cast<uint8_t*>(to.values)[at] = uint8_t(pair[p] | pair[p] >> 12);
      } else {
        static_cast<uint16_t*>(to.values)[at] = uint16_t(pair[p] | pair[p] >> 8);
      }
    }
  }
  unpack_metadata<kWeight>(tile, place, rows, cols, lane, to.indices);
  if constexpr (kWeight == Weight24::kInt4) {
    const int64_t row = place.row0 + lane;
    const uint16_t* scales = reinterpret_cast<const uint16_t*>(tile + 1024 + kMetadataBytes24);
    if (row < rows) {
      static_cast<uint16_t*>(to.scales)[row * place.tiles_k + place.index % place.tiles_k] =
          scales[4 * (lane & 7) + (lane >> 3)];
    }
  }
}

__global__ void __launch_bounds__(kTileWarps * 32)
    unpack_tiles_dense(const uint8_t* stream, int64_t rows, int64_t cols, uint16_t* to, int64_t row_stride) {
  const int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
  const TilePlace<Weight24::k16> place(rows, cols);
  if (!place.there) return;
  const uint8_t* tile = stream + place.index * tile_bytes24(Weight24::k16);
  const uint4 words = *reinterpret_cast<const uint4*>(tile + value_bytes24(Weight24::k16) + lane * 16);
  const uint32_t word[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
  for (int f = 0; f < 8; ++f) {
    Pairs<Weight24::k16> pair;
    load_pairs<Weight24::k16>(tile, f, lane, pair);
#pragma unroll
    for (int p = 0; p < 4; ++p) {
      const PairPosition where = pair_position<Weight24::k16>(f, p, lane);
      const uint32_t metadata = __shfl_sync(~0u, word[f & 3], 4 * g + 2 * (f >> 2) + (p >> 1));
      const uint32_t nibble = metadata >> (16 * (p & 1) + 4 * t) & 15;
      const int64_t row = place.row0 + where.row, chunk = place.chunk0 + where.chunk;
      if (row >= rows || chunk >= cols / 4) continue;
      const uint64_t dense = uint64_t(pair[p] & 0xffff) << (16 * (nibble & 3)) | uint64_t(pair[p] >> 16)
                                                                                     << (16 * (nibble >> 2));
      *reinterpret_cast<uint2*>(to + row * row_stride + 4 * chunk) =
          make_uint2(uint32_t(dense), uint32_t(dense >> 32));
    }
  }
}

}  // namespace

Status unpack24(Weight24 weight, int64_t rows, int64_t cols, const void* from, const Neutral24<void>& to,
                cudaStream_t stream) {
  if (!shape_fits24(rows, cols)) return {Reason::kShape};
  if (!aligned(from, 16) || !aligned(to.values, 4) || !aligned(to.indices, 2)) return {Reason::kAlignment};
  const uint8_t* packed = static_cast<const uint8_t*>(from);
  const dim3 grid(blocks24(weight, rows, cols)), block(kTileWarps * 32);
  switch (weight) {
    case Weight24::k16:
      unpack_tiles<Weight24::k16><<<grid, block, 0, stream>>>(packed, rows, cols, to);
      break;
    case Weight24::kInt8:
      unpack_tiles<Weight24::kInt8><<<grid, block, 0, stream>>>(packed, rows, cols, to);
      break;
    case Weight24::kInt4:
      unpack_tiles<Weight24::kInt4><<<grid, block, 0, stream>>>(packed, rows, cols, to);
      break;
    case Weight24::kInt8x8:
    case Weight24::kFp8x8:
      unpack_tiles<Weight24::kInt8x8><<<grid, block, 0, stream>>>(packed, rows, cols, to);
      break;
  }
  return from_cuda(cudaGetLastError());
}

Status unpack24_dense(int64_t rows, int64_t cols, const void* from, void* to, int64_t row_stride,
                      cudaStream_t stream) {
  if (!shape_fits24(rows, cols) || row_stride < cols) return {Reason::kShape};
  if (!aligned(from, 16) || !aligned(to, 8) || row_stride % 4 != 0) return {Reason::kAlignment};
  unpack_tiles_dense<<<blocks24(Weight24::k16, rows, cols), kTileWarps * 32, 0, stream>>>(
      static_cast<const uint8_t*>(from), rows, cols, static_cast<uint16_t*>(to), row_stride);
  return from_cuda(cudaGetLastError());
}

}  // namespace prune::kernels::cuda
