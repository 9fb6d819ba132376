#include "kernels/sparse/cuda/pack24.h"

#include <algorithm>

namespace prune::kernels::cuda {
namespace {

constexpr int kWarps = 8;
constexpr uint32_t kEmptyNibble = 4;  // columns 0 and 1: legal, and what a group of zeros gets

// A lane's pairs of one fragment.
template <Weight24 kWeight>
constexpr int kPairs = both_8_bits(kWeight) ? 8 : 4;
template <Weight24 kWeight>
using Pairs = uint32_t[kPairs<kWeight>];  // each as first | second << 16

// Where lane l = 4g + t finds pair p of fragment f inside its tile.
struct PairPosition {
  int row;
  int chunk;
};
template <Weight24 kWeight>
__device__ inline PairPosition pair_position(int f, int p, int lane) {
  const int m = f >> 2, s = f & 3, g = lane >> 2, t = lane & 3;
  if constexpr (both_8_bits(kWeight))
    return {16 * m + g + 8 * (p >> 1 & 1), 16 * s + 2 * t + (p & 1) + 8 * (p >> 2)};
  return {16 * m + g + 8 * (p & 1), 8 * s + t + 4 * (p >> 1)};
}

// Where that pair's nibble lies in its quad's metadata of the fragment: in one of kPairs / 2 words.
struct NibblePosition {
  int word;
  int shift;
};
template <Weight24 kWeight>
__device__ inline NibblePosition nibble_position(int p, int lane) {
  const int t = lane & 3;
  if constexpr (both_8_bits(kWeight)) return {p >> 1, 8 * t + 4 * (p & 1)};
  return {p >> 1, 16 * (p & 1) + 4 * t};
}

// The words of metadata that lane l stores: for each m that it has (kMetadataBlocks), four of s. The rows and
// chunks of such a word's nibbles:
template <Weight24 kWeight>
constexpr int kMetadataBlocks = both_8_bits(kWeight) ? 2 : 1;

// A word's part of four nibbles: `half` 0, 1.
template <Weight24 kWeight>
__device__ inline PairPosition four_nibbles(int block, int s, int half, int lane) {
  const int g = lane >> 2, t = lane & 3;
  if constexpr (both_8_bits(kWeight)) return {16 * block + g + 8 * (t & 1), 16 * s + 8 * (t >> 1) + 4 * half};
  return {16 * (t >> 1) + g + 8 * half, 8 * s + 4 * (t & 1)};
}

template <Weight24 kWeight>
__device__ inline void store_pairs(uint8_t* tile, int f, int lane, const Pairs<kWeight>& pair) {
  if constexpr (kWeight == Weight24::k16) {
    *reinterpret_cast<uint4*>(tile + f * 512 + lane * 16) = make_uint4(pair[0], pair[1], pair[2], pair[3]);
  } else if constexpr (both_8_bits(kWeight)) {
    uint32_t word[4];
#pragma unroll
    for (int i = 0; i < 4; ++i)  // bytes 0 and 2 of two pairs
      word[i] = __byte_perm(pair[2 * i], pair[2 * i + 1], 0x6420);
    *reinterpret_cast<uint4*>(tile + f * 512 + lane * 16) = make_uint4(word[0], word[1], word[2], word[3]);
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
__device__ inline void load_pairs(const uint8_t* tile, int f, int lane, Pairs<kWeight>& pair) {
  if constexpr (kWeight == Weight24::k16) {
    const uint4 v = *reinterpret_cast<const uint4*>(tile + f * 512 + lane * 16);
    pair[0] = v.x, pair[1] = v.y, pair[2] = v.z, pair[3] = v.w;
  } else if constexpr (both_8_bits(kWeight)) {
    const uint4 v = *reinterpret_cast<const uint4*>(tile + f * 512 + lane * 16);
    const uint32_t word[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int p = 0; p < 8; ++p) pair[p] = __byte_perm(word[p >> 1], 0, p & 1 ? 0x4342 : 0x4140);
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
    } else if constexpr (kWeight == Weight24::kInt4) {
      const uint32_t v = static_cast<const uint8_t*>(from.values)[at];
      pair = (v & 15) | (v >> 4) << 16;
    } else {
      const uint32_t v = static_cast<const uint16_t*>(from.values)[at];
      pair = (v & 0xff) | (v >> 8) << 16;
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

// Of the metadata words that a quad has together, the one that this lane stores.
template <Weight24 kWeight>
__device__ inline uint32_t own_word(const uint32_t (&word)[kPairs<kWeight> / 2], int t) {
  if constexpr (both_8_bits(kWeight)) {
    return t & 2 ? (t & 1 ? word[3] : word[2]) : (t & 1 ? word[1] : word[0]);
  } else {
    return t & 1 ? word[1] : word[0];
  }
}

// The tile of a warp.
template <Weight24 kWeight>
struct TilePlace {
  int64_t index;
  int64_t tiles_k;
  int64_t row0;
  int64_t chunk0;
  bool there;

  __device__ TilePlace(int64_t rows, int64_t cols)
      : index(int64_t(blockIdx.x) * kWarps + (threadIdx.x >> 5)),
        tiles_k((cols + tile_cols24(kWeight) - 1) / tile_cols24(kWeight)),
        row0(index / tiles_k * kTileRows24),
        chunk0(index % tiles_k * (tile_cols24(kWeight) / 4)),
        there(index < tiles_k * ((rows + kTileRows24 - 1) / kTileRows24)) {}
};

// One fragment of a tile: its pairs to the tile, and what this lane stores of its metadata.
template <Weight24 kWeight, class Source>
__device__ inline uint32_t pack_fragment(const Source& source, int64_t rows, int64_t cols,
                                         const TilePlace<kWeight>& place, int f, int lane, uint8_t* tile,
                                         unsigned long long& bad) {
  Pairs<kWeight> pair;
  uint32_t word[kPairs<kWeight> / 2] = {};
#pragma unroll
  for (int p = 0; p < kPairs<kWeight>; ++p) {
    const PairPosition at = pair_position<kWeight>(f, p, lane);
    const int64_t row = place.row0 + at.row, chunk = place.chunk0 + at.chunk;
    Group group = {kWeight == Weight24::kInt4 ? 0x00080008u : 0u, kEmptyNibble};
    bool refuse = false;
    if (row < rows && chunk < cols / 4) group = source(row, chunk, refuse);
    if (refuse) bad = min(bad, static_cast<unsigned long long>(row * cols + 4 * chunk));
    pair[p] = group.pair;
    const NibblePosition to = nibble_position<kWeight>(p, lane);
    word[to.word] |= group.nibble << to.shift;
  }
  store_pairs<kWeight>(tile, f, lane, pair);
#pragma unroll
  for (uint32_t& w : word) w = or_over_quad(w);
  return own_word<kWeight>(word, lane & 3);
}

// One warp a tile.
template <Weight24 kWeight, class Source>
__global__ void __launch_bounds__(kWarps * 32)
    pack_tiles(Source source, int64_t rows, int64_t cols, const uint16_t* scales, uint8_t* stream,
               unsigned long long* refused) {
  const int lane = threadIdx.x & 31, t = lane & 3;
  const TilePlace<kWeight> place(rows, cols);
  if (!place.there) return;
  uint8_t* tile = stream + place.index * tile_bytes24(kWeight);
  uint32_t metadata[4] = {};
  unsigned long long bad = ~0ull;
#pragma unroll(3 - kMetadataBlocks <kWeight>)
  for (int m = 0; m < 2; ++m) {
#pragma unroll
    for (int s = 0; s < 4; ++s) {
      const uint32_t word = pack_fragment<kWeight>(source, rows, cols, place, 4 * m + s, lane, tile, bad);
      if (both_8_bits(kWeight) || t >> 1 == m) metadata[s] = word;
    }
    if (!both_8_bits(kWeight) && m == 0) continue;
    const int block = both_8_bits(kWeight) ? m : 0;
    *reinterpret_cast<uint4*>(tile + value_bytes24(kWeight) + block * kMetadataBytes24 + lane * 16) =
        make_uint4(metadata[0], metadata[1], metadata[2], metadata[3]);
  }
  if constexpr (kWeight == Weight24::kInt4) {
    const int64_t row = place.row0 + lane;
    const uint16_t scale =
        row < rows ? scales[row * place.tiles_k + place.index % place.tiles_k] : uint16_t(0);
    reinterpret_cast<uint16_t*>(tile + 1024 + kMetadataBytes24)[4 * (lane & 7) + (lane >> 3)] = scale;
  }
  if (bad != ~0ull) atomicMin(refused, bad);
}

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
__global__ void __launch_bounds__(kWarps * 32)
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

__global__ void __launch_bounds__(kWarps * 32)
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

bool shape_fits(int64_t rows, int64_t cols) { return rows >= 1 && cols >= 64 && cols % 64 == 0; }
bool aligned(const void* pointer, uintptr_t bytes) {
  return reinterpret_cast<uintptr_t>(pointer) % bytes == 0;
}
unsigned blocks(Weight24 weight, int64_t rows, int64_t cols) {
  return unsigned((tiles_along24(rows, kTileRows24) * tiles_along24(cols, tile_cols24(weight)) + kWarps - 1) /
                  kWarps);
}

template <Weight24 kWeight, class Source>
Status launch_pack(const Source& source, int64_t rows, int64_t cols, const void* scales, void* to,
                   uint64_t* refused, cudaStream_t stream) {
  static_assert(sizeof(unsigned long long) == sizeof(uint64_t));
  if (const Status cleared = from_cuda(cudaMemsetAsync(refused, 0xff, sizeof *refused, stream));
      !cleared.ok())
    return cleared;
  pack_tiles<kWeight><<<blocks(kWeight, rows, cols), kWarps * 32, 0, stream>>>(
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
    case Weight24::kInt8x8:
    case Weight24::kFp8x8:  // bytes are bytes
      return launch_pack<Weight24::kInt8x8>(NeutralSource<Weight24::kInt8x8>{from, cols}, rows, cols, nullptr,
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
  const dim3 grid(blocks(weight, rows, cols)), block(kWarps * 32);
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
  if (!shape_fits(rows, cols) || row_stride < cols) return {Reason::kShape};
  if (!aligned(from, 16) || !aligned(to, 8) || row_stride % 4 != 0) return {Reason::kAlignment};
  unpack_tiles_dense<<<blocks(Weight24::k16, rows, cols), kWarps * 32, 0, stream>>>(
      static_cast<const uint8_t*>(from), rows, cols, static_cast<uint16_t*>(to), row_stride);
  return from_cuda(cudaGetLastError());
}

}  // namespace prune::kernels::cuda
