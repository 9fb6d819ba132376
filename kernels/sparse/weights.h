// Pruned weights as the packed formats hold them: plain pointers to arrays that the caller owns.
//
// W is [rows, cols] = [out, in]. Every format keeps, row by row and with ascending column, the weights that
// stay. `scales`, where present, multiply them: int8 weights are symmetric, with one scale for each row of W,
// or for each group of columns in a row.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace prune::kernels {

enum class WeightType : uint8_t {
  kF32,   // float
  kBf16,  // uint16_t: the upper half of a float
  kI8,    // int8_t
  kF16,   // uint16_t: IEEE 754 half precision. 2:4, and what is multiplied where it lies, has kernels of its
          // own for few rows of X; all else takes such weights as floats.
};

constexpr int64_t weight_bytes(WeightType type) {
  return type == WeightType::kF32 ? 4 : type == WeightType::kI8 ? 1 : 2;
}

// Whether bf16 holds such weights exactly, so that a kernel in bf16 may take them.
constexpr bool fits_bf16(WeightType type) { return type == WeightType::kBf16 || type == WeightType::kI8; }

// The parts that all formats share.
struct Weights {
  int64_t rows = 0;
  int64_t cols = 0;
  WeightType type = WeightType::kF32;
  const void* values = nullptr;
  // [rows], or with a scale_group [rows, ceil(cols / scale_group)]: weight (r, k) times scale (r, k /
  // scale_group). A power of two from kLeastScaleGroup on, of int8 weights only; dense ones have none.
  const float* scales = nullptr;
  int64_t scale_group = 0;
  // Elements of `values`, where that is known without reading the other arrays; else 0.
  int64_t values_count = 0;
};

inline constexpr int64_t kLeastScaleGroup = 32;

constexpr bool is_scale_group(int64_t columns) {
  return columns >= kLeastScaleGroup && (columns & (columns - 1)) == 0;
}
// Of weights with a scale_group.
constexpr int64_t scales_per_row(const Weights& w) { return (w.cols + w.scale_group - 1) / w.scale_group; }
inline float group_scale(const Weights& w, int64_t r, int64_t k) {
  return w.scales[r * scales_per_row(w) + k / w.scale_group];
}

// values [rows, cols], row-major.
struct DenseWeights : Weights {};

// N:M: `keep` of every `group` consecutive weights along a row; cols is a multiple of group.
// values [rows, cols / group * keep]; indices: per row ceil(cols / group * keep * b / 8) bytes with
// b = ceil(log2(group)), the in-group columns of each group ascending, b bits each, bit-packed with the low
// bits first. For 2:4 this is a nibble per group: idx0 + 4 * idx1, low nibble first.
struct NmWeights : Weights {
  int32_t keep = 2;
  int32_t group = 4;
  const uint8_t* indices = nullptr;
};

// values [row_offsets[rows]]; bitmask [rows, ceil(cols / 8)], bit j % 8 of byte j / 8 set where weight j
// stays; row_offsets [rows + 1] into values.
struct BitmaskWeights : Weights {
  const uint8_t* bitmask = nullptr;
  const int64_t* row_offsets = nullptr;
};

// values and column indices [indptr[rows]]; indptr [rows + 1].
struct CsrWeights : Weights {
  const int32_t* indices = nullptr;
  const int64_t* indptr = nullptr;
};

// Blocks of block_rows x block_cols: values [nblocks, block_rows, block_cols], block-column indices
// [nblocks], indptr [rows / block_rows + 1]. rows and cols are multiples of the block.
struct BsrWeights : Weights {
  int32_t block_rows = 1;
  int32_t block_cols = 1;
  const int32_t* indices = nullptr;
  const int64_t* indptr = nullptr;
};

// Sixteen rows in the lanes of vectors, windows of 32 columns: `steps` places a row in every window, and a
// tail of what finds none. With groups = ceil(rows / 16) and pairs = ceil(cols / 64), place
//     ((((r / 16) * pairs + pair) * steps + step) * 2 + window) * 16 + r % 16
// holds a value of row r and its column within window `window` of the pair; zeros where a row has no more.
// values [places + tail], columns [places], tail_columns [tail], row after row, tail_counts [groups * 16];
// zeros that no row counts fill the tail up to a multiple of kTailUnit.
struct WindowsWeights : Weights {
  int64_t steps = 0;
  const uint8_t* columns = nullptr;
  const uint16_t* tail_columns = nullptr;
  const int32_t* tail_counts = nullptr;
};

inline constexpr int64_t kWindowRows = 16;
inline constexpr int64_t kWindow = 32;
inline constexpr int64_t kMostWindowCols = 65536;  // that 16 bits tell apart
inline constexpr int64_t kTailUnit = 4;
// The time of a weight in the tail beside that of reading it, as bytes that could be read meanwhile.
inline constexpr int64_t kTailCost = 4;
// Windows are worked off two by two.
inline constexpr int64_t kWindowPair = 2 * kWindow;

constexpr int64_t window_groups(const WindowsWeights& w) { return (w.rows + kWindowRows - 1) / kWindowRows; }
constexpr int64_t window_pairs(const WindowsWeights& w) { return (w.cols + kWindowPair - 1) / kWindowPair; }
constexpr int64_t places_of_group(const WindowsWeights& w) {
  return window_pairs(w) * w.steps * 2 * kWindowRows;
}

// Bytes of one row of NmWeights::indices, and the bits of one index.
int32_t nm_index_bits(int32_t group);
int64_t nm_row_bytes(int64_t cols, int32_t keep, int32_t group);

// Bytes of all arrays but the scales.
size_t stored_bytes(const NmWeights& weights);
size_t stored_bytes(const BitmaskWeights& weights);
size_t stored_bytes(const CsrWeights& weights);
size_t stored_bytes(const BsrWeights& weights);
size_t stored_bytes(const WindowsWeights& weights);
// Where the tail of every group begins, and ends at last: [groups + 1] into tail_columns.
std::vector<int64_t> tail_starts(const WindowsWeights& weights);

// What is wrong with the arrays (an index out of range, offsets that go back, a shape that does not divide),
// or nullptr. prepare() trusts them, so weights from a file are asked about here first. `values_count` is the
// number of elements that `values` really holds.
const char* find_fault(const NmWeights& weights, int64_t values_count, int64_t indices_bytes);
const char* find_fault(const BitmaskWeights& weights, int64_t values_count);
const char* find_fault(const CsrWeights& weights, int64_t values_count);
const char* find_fault(const BsrWeights& weights, int64_t values_count);
const char* find_fault(const WindowsWeights& weights, int64_t values_count);
// The parts of it: of all but the groups, and of one group. Values take value_bytes each (1, 2, 4 or 8) and
// need no alignment.
const char* find_shape_fault(const WindowsWeights& weights, int64_t value_bytes, int64_t values_count);
const char* find_group_fault(const WindowsWeights& weights, int64_t value_bytes, int64_t group,
                             int64_t tail_start);

}  // namespace prune::kernels
