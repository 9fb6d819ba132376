// What packing and unpacking of 2:4 streams (pack24.h) share: where a lane's weights lie in a tile of
// frag24.h and in the matrix. Device code, one warp a tile.
#pragma once

#include "kernels/sparse/cuda/pack24.h"

namespace prune::kernels::cuda {

inline constexpr int kTileWarps = 8;  // of a thread block

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

// The tile of a warp.
template <Weight24 kWeight>
struct TilePlace {
  int64_t index;
  int64_t tiles_k;
  int64_t row0;
  int64_t chunk0;
  bool there;

  __device__ TilePlace(int64_t rows, int64_t cols)
      : index(int64_t(blockIdx.x) * kTileWarps + (threadIdx.x >> 5)),
        tiles_k((cols + tile_cols24(kWeight) - 1) / tile_cols24(kWeight)),
        row0(index / tiles_k * kTileRows24),
        chunk0(index % tiles_k * (tile_cols24(kWeight) / 4)),
        there(index < tiles_k * ((rows + kTileRows24 - 1) / kTileRows24)) {}
};

// --- what the host checks and counts

inline bool shape_fits24(int64_t rows, int64_t cols) { return rows >= 1 && cols >= 64 && cols % 64 == 0; }
inline bool aligned(const void* pointer, uintptr_t bytes) {
  return reinterpret_cast<uintptr_t>(pointer) % bytes == 0;
}
inline unsigned blocks24(Weight24 weight, int64_t rows, int64_t cols) {
  return unsigned(
      (tiles_along24(rows, kTileRows24) * tiles_along24(cols, tile_cols24(weight)) + kTileWarps - 1) /
      kTileWarps);
}

}  // namespace prune::kernels::cuda
