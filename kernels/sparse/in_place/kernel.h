// One packed row of W, or one row of blocks, against some rows of X.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/sparse/group_scales.h"
#include "kernels/sparse/isa.h"
#include "kernels/sparse/weights.h"

namespace prune::kernels {

enum class Marks : uint8_t { kNm24, kBitmask };

struct PackedRow {
  const void* values;
  int64_t values_left;   // from the row's first to the end of the array, at least the row's own
  const uint8_t* marks;  // 2:4 indices or a bitmask, exactly the row's bytes
  GroupScales scales = {};
};

struct InPlaceKernel {
  const char* name;
  Marks marks;
  WeightType type;
  int64_t chunk;        // packed rows of X are a multiple of it long, zeros behind cols
  int64_t input_bytes;  // of an element of packed X
  void (*pack_x)(const float* x, int64_t cols, int64_t padded, void* packed);
  // sums[i * sums_stride] = sum_k row[k] x[i * x_stride + k], k < cols, for i < n; x as it is packed,
  // x_stride in elements. Nothing is read beyond the arrays.
  void (*multiply)(const PackedRow& row, int64_t cols, const void* x, int64_t x_stride, int64_t n,
                   float* sums, int64_t sums_stride);
  // The same of weights times the scales of their groups; null where there are none of the type.
  decltype(multiply) multiply_scaled = nullptr;
};

struct BlockRow {
  const void* values;  // [blocks, block_rows, block_cols]
  const int32_t* columns;
  int64_t blocks;
  int64_t block_rows;
  int64_t block_cols;
  GroupScales scales = {};    // of its first row
  int64_t scales_stride = 0;  // from a row's to the next one's
};

struct InPlaceBlocksKernel {
  const char* name;
  WeightType type;
  bool (*takes)(int64_t block_rows, int64_t block_cols);
  int64_t input_bytes;
  void (*pack_x)(const float* x, int64_t cols, int64_t padded, void* packed);  // padded: to 32
  // sums[i * sums_stride + r] = the product of the block row's row r with row i of X, for i < n.
  void (*multiply)(const BlockRow& row, const void* x, int64_t x_stride, int64_t n, float* sums,
                   int64_t sums_stride);
  decltype(multiply) multiply_scaled = nullptr;
};

#define PRUNE_IN_PLACE_KERNEL(name, needs) extern const InPlaceKernel name;
#define PRUNE_IN_PLACE_BLOCKS_KERNEL(name, needs) extern const InPlaceBlocksKernel name;
#include "kernels/sparse/in_place/kernels.inc"
#undef PRUNE_IN_PLACE_KERNEL
#undef PRUNE_IN_PLACE_BLOCKS_KERNEL

}  // namespace prune::kernels
