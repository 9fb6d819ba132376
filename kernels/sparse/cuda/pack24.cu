// 2:4 streams from the neutral format and from dense matrices.
#include "kernels/sparse/cuda/tile24.h"

namespace prune::kernels::cuda {
namespace {

constexpr uint32_t kEmptyNibble = 4;  // columns 0 and 1: legal, and what a group of zeros gets

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
__global__ void __launch_bounds__(kTileWarps * 32)
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

template <Weight24 kWeight, class Source>
Status launch_pack(const Source& source, int64_t rows, int64_t cols, const void* scales, void* to,
                   uint64_t* refused, cudaStream_t stream) {
  static_assert(sizeof(unsigned long long) == sizeof(uint64_t));
  if (const Status cleared = from_cuda(cudaMemsetAsync(refused, 0xff, sizeof *refused, stream));
      !cleared.ok())
    return cleared;
  pack_tiles<kWeight><<<blocks24(kWeight, rows, cols), kTileWarps * 32, 0, stream>>>(
      source, rows, cols, static_cast<const uint16_t*>(scales), static_cast<uint8_t*>(to),
      reinterpret_cast<unsigned long long*>(refused));
  return from_cuda(cudaGetLastError());
}

}  // namespace

Status pack24(Weight24 weight, int64_t rows, int64_t cols, const Neutral24<const void>& from, void* to,
              uint64_t* refused, cudaStream_t stream) {
  if (!shape_fits24(rows, cols)) return {Reason::kShape};
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
  if (!shape_fits24(rows, cols) || row_stride < cols) return {Reason::kShape};
  if (!aligned(to, 16) || !aligned(from, 8) || row_stride % 4 != 0) return {Reason::kAlignment};
  const uint16_t* dense = static_cast<const uint16_t*>(from);
  if (choose == Choose24::kExact) {
    return launch_pack<Weight24::k16>(DenseSource<Choose24::kExact>{dense, row_stride}, rows, cols, nullptr,
                                      to, refused, stream);
  }
  return launch_pack<Weight24::k16>(DenseSource<Choose24::kMagnitude>{dense, row_stride}, rows, cols, nullptr,
                                    to, refused, stream);
}

}  // namespace prune::kernels::cuda
