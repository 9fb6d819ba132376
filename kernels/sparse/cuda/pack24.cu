#include "kernels/sparse/cuda/pack24.h"

#include <algorithm>

namespace prune::kernels::cuda {
namespace {

constexpr int kWarps = 8;
constexpr uint32_t kEmptyNibble = 4;  // columns 0 and 1: legal, and what a group of zeros gets

// Where lane l = 4g + t finds pair p of fragment f inside its tile.
struct PairPosition {
  int row;
  int chunk;
};
__device__ inline PairPosition pair_position(int f, int p, int lane) {
  const int m = f >> 2, s = f & 3, g = lane >> 2, t = lane & 3;
  return {16 * m + g + 8 * (p & 1), 8 * s + t + 4 * (p >> 1)};
}

// A lane's four pairs of one fragment, each as first | second << 16.
template <Weight24 kWeight>
__device__ inline void store_pairs(uint8_t* tile, int f, int lane, const uint32_t (&pair)[4]) {
  if constexpr (kWeight == Weight24::k16) {
    *reinterpret_cast<uint4*>(tile + f * 512 + lane * 16) = make_uint4(pair[0], pair[1], pair[2], pair[3]);
  } else if constexpr (kWeight == Weight24::kInt8) {
    // Bytes 0 and 2 are one pair, 1 and 3 the next: a mask and a shift take them apart again as packed
    // halves.
    const uint2 word = make_uint2(pair[0] | pair[1] << 8, pair[2] | pair[3] << 8);
    *reinterpret_cast<uint2*>(tile + (f >> 1) * 512 + lane * 16 + (f & 1) * 8) = word;
  } else {
    // Nibbles i and i + 4 are pair i, for the same reason.
    const uint32_t word = pair[0] | pair[1] << 4 | pair[2] << 8 | pair[3] << 12;
    *reinterpret_cast<uint32_t*>(tile + (f >> 2) * 512 + lane * 16 + (f & 3) * 4) = word;
  }
}
template <Weight24 kWeight>
__device__ inline void load_pairs(const uint8_t* tile, int f, int lane, uint32_t (&pair)[4]) {
  if constexpr (kWeight == Weight24::k16) {
    const uint4 v = *reinterpret_cast<const uint4*>(tile + f * 512 + lane * 16);
    pair[0] = v.x, pair[1] = v.y, pair[2] = v.z, pair[3] = v.w;
  } else if constexpr (kWeight == Weight24::kInt8) {
    const uint2 v = *reinterpret_cast<const uint2*>(tile + (f >> 1) * 512 + lane * 16 + (f & 1) * 8);
    pair[0] = v.x & 0x00ff00ff, pair[1] = v.x >> 8 & 0x00ff00ff;
    pair[2] = v.y & 0x00ff00ff, pair[3] = v.y >> 8 & 0x00ff00ff;
  } else {
    const uint32_t v = *reinterpret_cast<const uint32_t*>(tile + (f >> 2) * 512 + lane * 16 + (f & 3) * 4);
    for (int p = 0; p < 4; ++p) pair[p] = v >> (4 * p) & 0x000f000f;
  }
}

// One group: its kept pair and nibble.
struct Group {
  uint32_t pair;
  uint32_t nibble;
};

template <Weight24 kWeight>
struct NeutralSource {
  Neutral24<const void> from;
  int64_t cols;

  __device__ Group operator()(int64_t row, int64_t chunk, bool& refused) const {
    const int64_t at = row * (cols / 4) + chunk;
    const uint32_t byte = static_cast<const uint8_t*>(from.indices)[row * (cols / 8) + (chunk >> 1)];
    const uint32_t nibble = byte >> (4 * (chunk & 1)) & 15;
    refused = (nibble & 3) >= nibble >> 2;
    uint32_t pair;
    if constexpr (kWeight == Weight24::k16) {
      pair = static_cast<const uint32_t*>(from.values)[at];
    } else if constexpr (kWeight == Weight24::kInt8) {
      const uint32_t v = static_cast<const uint16_t*>(from.values)[at];
      pair = (v & 0xff) | (v >> 8) << 16;
    } else {
      const uint32_t v = static_cast<const uint8_t*>(from.values)[at];
      pair = (v & 15) | (v >> 4) << 16;
    }
    return {pair, nibble};
  }
};

template <Choose24 kChoose>
struct DenseSource {
  const uint16_t* from;
  int64_t row_stride;

  // The order in which weights are kept, as numbers that are all different: larger first, then the lower
  // column.
  __device__ static uint32_t key(uint32_t bits, uint32_t column) {
    const uint32_t magnitude = bits & 0x7fff;
    const uint32_t rank = kChoose == Choose24::kMagnitude ? magnitude
                          : magnitude != 0                ? 2
                          : bits != 0                     ? 1
                                                          : 0;
    return rank << 2 | (3 - column);
  }
  __device__ Group operator()(int64_t row, int64_t chunk, bool& refused) const {
    const uint2 words = *reinterpret_cast<const uint2*>(from + row * row_stride + 4 * chunk);
    const uint32_t k0 = key(words.x & 0xffff, 0), k1 = key(words.x >> 16, 1), k2 = key(words.y & 0xffff, 2),
                   k3 = key(words.y >> 16, 3);
    const uint32_t left = max(k0, k1), right = max(k2, k3);
    const uint32_t best = max(left, right),
                   next = max(min(left, right), left > right ? min(k0, k1) : min(k2, k3));
    refused = false;
    if constexpr (kChoose == Choose24::kExact)
      refused = (k0 >> 3) + (k1 >> 3) + (k2 >> 3) + (k3 >> 3) > 2;  // rank 2 is a weight that is not zero
    const uint32_t a = 3 - (best & 3), b = 3 - (next & 3), low = min(a, b), high = max(a, b);
    // A half's two bytes are numbers 2j and 2j + 1 of the eight.
    const uint32_t pair = __byte_perm(words.x, words.y, (low * 0x22 + 0x10) | (high * 0x22 + 0x10) << 8);
    return {pair, low | high << 2};
  }
};

__device__ inline uint32_t or_over_quad(uint32_t v) {
  v |= __shfl_xor_sync(~0u, v, 1);
  return v | __shfl_xor_sync(~0u, v, 2);
}

// One warp a tile.
template <Weight24 kWeight, class Source>
__global__ void __launch_bounds__(kWarps * 32)
    pack_tiles(Source source, int64_t rows, int64_t cols, const uint16_t* scales, uint8_t* stream,
               unsigned long long* refused) {
  const int lane = threadIdx.x & 31, t = lane & 3;
  const int64_t tiles_k = (cols + kTileCols24 - 1) / kTileCols24;
  const int64_t tile_index = int64_t(blockIdx.x) * kWarps + (threadIdx.x >> 5);
  if (tile_index >= tiles_k * ((rows + kTileRows24 - 1) / kTileRows24)) return;
  const int64_t row0 = tile_index / tiles_k * kTileRows24, chunk0 = tile_index % tiles_k * (kTileCols24 / 4);
  uint8_t* tile = stream + tile_index * tile_bytes24(kWeight);
  uint32_t metadata[4] = {};
  unsigned long long bad = ~0ull;
#pragma unroll
  for (int f = 0; f < 8; ++f) {
    uint32_t pair[4], word[2] = {};
#pragma unroll
    for (int p = 0; p < 4; ++p) {
      const PairPosition at = pair_position(f, p, lane);
      const int64_t row = row0 + at.row, chunk = chunk0 + at.chunk;
      Group group = {kWeight == Weight24::kInt4 ? 0x00080008u : 0u, kEmptyNibble};
      bool refuse = false;
      if (row < rows && chunk < cols / 4) group = source(row, chunk, refuse);
      if (refuse) bad = min(bad, static_cast<unsigned long long>(row * cols + 4 * chunk));
      pair[p] = group.pair;
      word[p >> 1] |= group.nibble << (16 * (p & 1) + 4 * t);
    }
    store_pairs<kWeight>(tile, f, lane, pair);
    const uint32_t low = or_over_quad(word[0]), high = or_over_quad(word[1]);
    if (t >> 1 == f >> 2) metadata[f & 3] = t & 1 ? high : low;
  }
  *reinterpret_cast<uint4*>(tile + value_bytes24(kWeight) + lane * 16) =
      make_uint4(metadata[0], metadata[1], metadata[2], metadata[3]);
  if constexpr (kWeight == Weight24::kInt4) {
    const int64_t row = row0 + lane;
    const uint16_t scale = row < rows ? scales[row * tiles_k + tile_index % tiles_k] : uint16_t(0);
    reinterpret_cast<uint16_t*>(tile + 1024 + kMetadataBytes24)[4 * (lane & 7) + (lane >> 3)] = scale;
  }
  if (bad != ~0ull) atomicMin(refused, bad);
}

template <Weight24 kWeight>
__global__ void __launch_bounds__(kWarps * 32)
    unpack_tiles(const uint8_t* stream, int64_t rows, int64_t cols, Neutral24<void> to) {
  const int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
  const int64_t tiles_k = (cols + kTileCols24 - 1) / kTileCols24;
  const int64_t tile_index = int64_t(blockIdx.x) * kWarps + (threadIdx.x >> 5);
  if (tile_index >= tiles_k * ((rows + kTileRows24 - 1) / kTileRows24)) return;
  const int64_t row0 = tile_index / tiles_k * kTileRows24, chunk0 = tile_index % tiles_k * (kTileCols24 / 4);
  const uint8_t* tile = stream + tile_index * tile_bytes24(kWeight);
#pragma unroll
  for (int f = 0; f < 8; ++f) {
    uint32_t pair[4];
    load_pairs<kWeight>(tile, f, lane, pair);
    for (int p = 0; p < 4; ++p) {
      const PairPosition where = pair_position(f, p, lane);
      const int64_t row = row0 + where.row, chunk = chunk0 + where.chunk, at = row * (cols / 4) + chunk;
      if (row >= rows || chunk >= cols / 4) continue;
      if constexpr (kWeight == Weight24::k16) {
        static_cast<uint32_t*>(to.values)[at] = pair[p];
      } else if constexpr (kWeight == Weight24::kInt8) {
        static_cast<uint16_t*>(to.values)[at] = uint16_t(pair[p] | pair[p] >> 8);
      } else {
        static_cast<uint8_t*>(to.values)[at] = uint8_t(pair[p] | pair[p] >> 12);
      }
    }
  }
  const uint4 words = *reinterpret_cast<const uint4*>(tile + value_bytes24(kWeight) + lane * 16);
  const uint32_t word[4] = {words.x, words.y, words.z, words.w};
  for (int s = 0; s < 4; ++s) {
    for (int half = 0; half < 2; ++half) {
      const int64_t row = row0 + 16 * (t >> 1) + g + 8 * half, chunk = chunk0 + 8 * s + 4 * (t & 1);
      if (row >= rows || chunk >= cols / 4) continue;
      const int64_t at = row * (cols / 8) + chunk / 2;
      *reinterpret_cast<uint16_t*>(static_cast<uint8_t*>(to.indices) + at) = uint16_t(word[s] >> (16 * half));
    }
  }
  if constexpr (kWeight == Weight24::kInt4) {
    const int64_t row = row0 + lane;
    const uint16_t* scales = reinterpret_cast<const uint16_t*>(tile + 1024 + kMetadataBytes24);
    if (row < rows) {
      static_cast<uint16_t*>(to.scales)[row * tiles_k + tile_index % tiles_k] =
          scales[4 * (lane & 7) + (lane >> 3)];
    }
  }
}

__global__ void __launch_bounds__(kWarps * 32)
    unpack_tiles_dense(const uint8_t* stream, int64_t rows, int64_t cols, uint16_t* to, int64_t row_stride) {
  const int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
  const int64_t tiles_k = (cols + kTileCols24 - 1) / kTileCols24;
  const int64_t tile_index = int64_t(blockIdx.x) * kWarps + (threadIdx.x >> 5);
  if (tile_index >= tiles_k * ((rows + kTileRows24 - 1) / kTileRows24)) return;
  const int64_t row0 = tile_index / tiles_k * kTileRows24, chunk0 = tile_index % tiles_k * (kTileCols24 / 4);
  const uint8_t* tile = stream + tile_index * tile_bytes24(Weight24::k16);
  const uint4 words = *reinterpret_cast<const uint4*>(tile + value_bytes24(Weight24::k16) + lane * 16);
  const uint32_t word[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
  for (int f = 0; f < 8; ++f) {
    uint32_t pair[4];
    load_pairs<Weight24::k16>(tile, f, lane, pair);
#pragma unroll
    for (int p = 0; p < 4; ++p) {
      const PairPosition where = pair_position(f, p, lane);
      const uint32_t metadata = __shfl_sync(~0u, word[f & 3], 4 * g + 2 * (f >> 2) + (p >> 1));
      const uint32_t nibble = metadata >> (16 * (p & 1) + 4 * t) & 15;
      const int64_t row = row0 + where.row, chunk = chunk0 + where.chunk;
      if (row >= rows || chunk >= cols / 4) continue;
      const uint64_t dense = uint64_t(pair[p] & 0xffff) << (16 * (nibble & 3)) | uint64_t(pair[p] >> 16)
                                                                                     << (16 * (nibble >> 2));
      *reinterpret_cast<uint2*>(to + row * row_stride + 4 * chunk) =
          make_uint2(uint32_t(dense), uint32_t(dense >> 32));
    }
  }
}

bool shape_fits(int64_t rows, int64_t cols) { return rows >= 1 && cols >= 64 && cols % 64 == 0; }
bool aligned(const void* pointer, uintptr_t bytes) {
  return reinterpret_cast<uintptr_t>(pointer) % bytes == 0;
}
unsigned blocks(int64_t rows, int64_t cols) {
  return unsigned((tiles_along24(rows, kTileRows24) * tiles_along24(cols, kTileCols24) + kWarps - 1) /
                  kWarps);
}

template <Weight24 kWeight, class Source>
Status launch_pack(const Source& source, int64_t rows, int64_t cols, const void* scales, void* to,
                   uint64_t* refused, cudaStream_t stream) {
  static_assert(sizeof(unsigned long long) == sizeof(uint64_t));
  if (const Status cleared = from_cuda(cudaMemsetAsync(refused, 0xff, sizeof *refused, stream));
      !cleared.ok())
    return cleared;
  pack_tiles<kWeight><<<blocks(rows, cols), kWarps * 32, 0, stream>>>(
      source, rows, cols, static_cast<const uint16_t*>(scales), static_cast<uint8_t*>(to),
      reinterpret_cast<unsigned long long*>(refused));
  return from_cuda(cudaGetLastError());
}

}  // namespace

Status pack24(Weight24 weight, int64_t rows, int64_t cols, const Neutral24<const void>& from, void* to,
              uint64_t* refused, cudaStream_t stream) {
  if (!shape_fits(rows, cols)) return {Reason::kShape};
  if (!aligned(to, 16) || !aligned(from.values, 4)) return {Reason::kAlignment};
  switch (weight) {
    case Weight24::k16:
      return launch_pack<Weight24::k16>(NeutralSource<Weight24::k16>{from, cols}, rows, cols, nullptr, to,
                                        refused, stream);
    case Weight24::kInt8:
      return launch_pack<Weight24::kInt8>(NeutralSource<Weight24::kInt8>{from, cols}, rows, cols, nullptr, to,
                                          refused, stream);
    case Weight24::kInt4:
      return launch_pack<Weight24::kInt4>(NeutralSource<Weight24::kInt4>{from, cols}, rows, cols, from.scales,
                                          to, refused, stream);
  }
  return {Reason::kShape};
}

Status pack24_dense(Choose24 choose, int64_t rows, int64_t cols, const void* from, int64_t row_stride,
                    void* to, uint64_t* refused, cudaStream_t stream) {
  if (!shape_fits(rows, cols) || row_stride < cols) return {Reason::kShape};
  if (!aligned(to, 16) || !aligned(from, 8) || row_stride % 4 != 0) return {Reason::kAlignment};
  const uint16_t* dense = static_cast<const uint16_t*>(from);
  if (choose == Choose24::kExact) {
    return launch_pack<Weight24::k16>(DenseSource<Choose24::kExact>{dense, row_stride}, rows, cols, nullptr,
                                      to, refused, stream);
  }
  return launch_pack<Weight24::k16>(DenseSource<Choose24::kMagnitude>{dense, row_stride}, rows, cols, nullptr,
                                    to, refused, stream);
}

Status unpack24(Weight24 weight, int64_t rows, int64_t cols, const void* from, const Neutral24<void>& to,
                cudaStream_t stream) {
  if (!shape_fits(rows, cols)) return {Reason::kShape};
  if (!aligned(from, 16) || !aligned(to.values, 4) || !aligned(to.indices, 2)) return {Reason::kAlignment};
  const uint8_t* packed = static_cast<const uint8_t*>(from);
  const dim3 grid(blocks(rows, cols)), block(kWarps * 32);
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
  }
  return from_cuda(cudaGetLastError());
}

Status unpack24_dense(int64_t rows, int64_t cols, const void* from, void* to, int64_t row_stride,
                      cudaStream_t stream) {
  if (!shape_fits(rows, cols) || row_stride < cols) return {Reason::kShape};
  if (!aligned(from, 16) || !aligned(to, 8) || row_stride % 4 != 0) return {Reason::kAlignment};
  unpack_tiles_dense<<<blocks(rows, cols), kWarps * 32, 0, stream>>>(
      static_cast<const uint8_t*>(from), rows, cols, static_cast<uint16_t*>(to), row_stride);
  return from_cuda(cudaGetLastError());
}

}  // namespace prune::kernels::cuda
