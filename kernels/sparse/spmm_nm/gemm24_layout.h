// How the many-token 2:4 product divides a block's shared memory. One description for the kernel and its
// launcher.
#pragma once

#include <algorithm>

#include "kernels/sparse/cuda/frag24.h"

namespace prune::kernels::cuda {

inline constexpr int kGemmRows = 128;  // rows of a block
inline constexpr int kGemmRowTiles = kGemmRows / kTileRows24;
inline constexpr int kGemmXRowBytes =
    128;                              // of x in one box, half of a tile's columns: the width of the swizzle
inline constexpr int kGemmWarps = 8;  // warps that multiply: two warp groups, 64 rows each
inline constexpr int kGemmFeeders = 4;
inline constexpr int kGemmThreads = 32 * (kGemmWarps + kGemmFeeders);
inline constexpr int kGemmSharedBytes = 227 << 10;

template <Weight24 kWeight, int kTokens>
struct GemmLayout {
  static constexpr int kTileBytes = tile_bytes24(kWeight);
  static constexpr int kWeightBytes = kGemmRowTiles * kTileBytes;  // 128 rows by a tile's columns
  static constexpr int kXCols = tile_cols24(kWeight) / 2;
  static constexpr int kXBytes = kTokens * kGemmXRowBytes;
  static constexpr int kStoreBytes = std::min(kTokens, 32) * 128;  // two a warp group, group_sums.h
  // Sums on their way to y, or of other blocks: [source][piece][lane] of 16 bytes, where a piece is 16 rows
  // by 8 tokens; a split that does not divide the pieces takes one more. Those of more than 64 tokens lie
  // where x was.
  static constexpr int kMaxSplit = 8;
  static constexpr int kExchangeBytes = (kTokens + kMaxSplit) * 512;
  static constexpr bool kExchangeApart = kTokens <= 64;
  static constexpr int kSumBytes = std::max(4 * kStoreBytes, kExchangeApart ? kExchangeBytes : 0);
  static constexpr int kStages = (kGemmSharedBytes - kSumBytes - 1024) / (kWeightBytes + 2 * kXBytes);
  static constexpr int kXSlots = kTokens == 256 ? 4 : std::min(2 * kStages, 24);
  static constexpr int kWeightSlots = kTokens == 256 ? 3 : std::min(kStages, 12);

  static constexpr int kX = 0;  // slots aligned to 1024 bytes, as the swizzle wants
  static constexpr int kStore = kX + kXSlots * kXBytes;
  static constexpr int kExchange = kExchangeApart ? kStore : kX;
  static constexpr int kWeights = kStore + kSumBytes;
  static constexpr int kBarriers = kWeights + kWeightSlots * kWeightBytes;
  static constexpr int x_full(int slot) { return kBarriers + 8 * slot; }
  static constexpr int x_empty(int slot) { return x_full(kXSlots) + 8 * slot; }
  static constexpr int weights_full(int slot) { return x_empty(kXSlots) + 8 * slot; }
  static constexpr int weights_empty(int slot) { return weights_full(kWeightSlots) + 8 * slot; }
  static constexpr int kReady =
      weights_empty(kWeightSlots);               // the blocks on the same rows have room for sums
  static constexpr int kExchanged = kReady + 8;  // and their sums are here
  static constexpr int kTaken = kExchanged + 8;  // and they are taken from where x was: it may come again
  static constexpr int kBytes = kTaken + 8;
  static_assert(kExchange + kExchangeBytes <= kWeights);
  static_assert(kBytes <= kGemmSharedBytes);
};

}  // namespace prune::kernels::cuda
