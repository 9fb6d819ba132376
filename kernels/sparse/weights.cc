#include "kernels/sparse/weights.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <numeric>

namespace prune::kernels {
namespace {

const char* find_shape_fault(const Weights& weights) {
  if (weights.rows < 0 || weights.cols < 0) return "negative shape";
  if (weights.cols > INT32_MAX || weights.rows > INT32_MAX) return "more than 2^31 - 1 rows or columns";
  if (weights.scale_group == 0) return nullptr;
  if (!is_scale_group(weights.scale_group) || weights.type != WeightType::kI8 || weights.scales == nullptr)
    return "groups of columns with scales of their own are of int8, a power of two from 32 on";
  return nullptr;
}

// Offsets of a compressed format: from 0 to `end`, never going back.
const char* find_offsets_fault(const int64_t* offsets, int64_t count, int64_t end) {
  if (offsets[0] != 0) return "row offsets do not start at 0";
  for (int64_t i = 0; i < count; ++i) {
    if (offsets[i + 1] < offsets[i]) return "row offsets go back";
  }
  return offsets[count] == end ? nullptr : "row offsets do not end at the number of values";
}

const char* find_index_fault(const int32_t* indices, const int64_t* indptr, int64_t rows, int64_t cols) {
  for (int64_t r = 0; r < rows; ++r) {
    int64_t last = -1;
    for (int64_t i = indptr[r]; i < indptr[r + 1]; ++i) {
      if (indices[i] <= last || indices[i] >= cols) return "column indices are not ascending within the row";
      last = indices[i];
    }
  }
  return nullptr;
}

int64_t read_bits(const uint8_t* bytes, int64_t bit, int32_t width) {
  int64_t value = 0;
  for (int32_t i = 0; i < width; ++i, ++bit) value |= int64_t{(bytes[bit / 8] >> (bit % 8)) & 1} << i;
  return value;
}

}  // namespace

int32_t nm_index_bits(int32_t group) { return std::bit_width(static_cast<uint32_t>(group) - 1); }

int64_t nm_row_bytes(int64_t cols, int32_t keep, int32_t group) {
  return (cols / group * keep * nm_index_bits(group) + 7) / 8;
}

size_t stored_bytes(const NmWeights& w) {
  const int64_t values = w.cols / w.group * w.keep * weight_bytes(w.type);
  return static_cast<size_t>(w.rows * (values + nm_row_bytes(w.cols, w.keep, w.group)));
}
size_t stored_bytes(const BitmaskWeights& w) {
  return static_cast<size_t>(w.row_offsets[w.rows] * weight_bytes(w.type) + w.rows * ((w.cols + 7) / 8)) +
         static_cast<size_t>(w.rows) * sizeof(int64_t);
}
size_t stored_bytes(const CsrWeights& w) {
  return static_cast<size_t>(w.indptr[w.rows]) *
             (static_cast<size_t>(weight_bytes(w.type)) + sizeof(int32_t)) +
         static_cast<size_t>(w.rows + 1) * sizeof(int64_t);
}
size_t stored_bytes(const BsrWeights& w) {
  const int64_t block_rows = w.rows / w.block_rows, blocks = w.indptr[block_rows];
  return static_cast<size_t>(blocks) *
             (static_cast<size_t>(w.block_rows * w.block_cols * weight_bytes(w.type)) + sizeof(int32_t)) +
         static_cast<size_t>(block_rows + 1) * sizeof(int64_t);
}

const char* find_fault(const NmWeights& w, int64_t values_count, int64_t indices_bytes) {
  if (const char* fault = find_shape_fault(w)) return fault;
  if (w.group < 2 || w.group > 32 || w.keep < 1 || w.keep >= w.group) return "not an N:M pattern up to 32";
  if (w.cols % w.group != 0) return "columns are not a multiple of the group";
  const int64_t per_row = w.cols / w.group * w.keep;
  if (values_count != w.rows * per_row) return "values do not match the shape";
  const int64_t row_bytes = nm_row_bytes(w.cols, w.keep, w.group);
  if (indices_bytes != w.rows * row_bytes) return "indices do not match the shape";
  const int32_t bits = nm_index_bits(w.group);
  for (int64_t r = 0; r < w.rows; ++r) {
    for (int64_t i = 0, last = -1; i < per_row; ++i) {
      const int64_t index = read_bits(w.indices + r * row_bytes, i * bits, bits);
      if (i % w.keep == 0) last = -1;
      if (index <= last || index >= w.group) return "indices are not ascending within their group";
      last = index;
    }
  }
  return nullptr;
}

const char* find_fault(const BitmaskWeights& w, int64_t values_count) {
  if (const char* fault = find_shape_fault(w)) return fault;
  if (const char* fault = find_offsets_fault(w.row_offsets, w.rows, values_count)) return fault;
  const int64_t row_bytes = (w.cols + 7) / 8;
  for (int64_t r = 0; r < w.rows; ++r) {
    const uint8_t* bytes = w.bitmask + r * row_bytes;
    int64_t count = 0;
    for (int64_t i = 0; i < row_bytes; ++i) count += std::popcount(bytes[i]);
    if (count != w.row_offsets[r + 1] - w.row_offsets[r]) return "bitmask and row offsets disagree";
    if (w.cols % 8 != 0 && bytes[row_bytes - 1] >> (w.cols % 8) != 0)
      return "bitmask has bits past the last column";
  }
  return nullptr;
}

const char* find_fault(const CsrWeights& w, int64_t values_count) {
  if (const char* fault = find_shape_fault(w)) return fault;
  if (const char* fault = find_offsets_fault(w.indptr, w.rows, values_count)) return fault;
  return find_index_fault(w.indices, w.indptr, w.rows, w.cols);
}

const char* find_fault(const BsrWeights& w, int64_t values_count) {
  if (const char* fault = find_shape_fault(w)) return fault;
  if (w.block_rows < 1 || w.block_cols < 1) return "empty blocks";
  if (w.rows % w.block_rows != 0 || w.cols % w.block_cols != 0) return "shape is not a multiple of the block";
  const int64_t block = int64_t{w.block_rows} * w.block_cols;
  if (values_count % block != 0) return "values are not whole blocks";
  const int64_t block_rows = w.rows / w.block_rows;
  if (const char* fault = find_offsets_fault(w.indptr, block_rows, values_count / block)) return fault;
  return find_index_fault(w.indices, w.indptr, block_rows, w.cols / w.block_cols);
}

size_t stored_bytes(const WindowsWeights& w) {
  const int64_t groups = window_groups(w), value = weight_bytes(w.type);
  return static_cast<size_t>(groups * places_of_group(w) * (value + 1) +
                             tail_starts(w).back() * (value + 2)) +
         static_cast<size_t>(groups * kWindowRows) * sizeof(int32_t);
}

std::vector<int64_t> tail_starts(const WindowsWeights& w) {
  std::vector<int64_t> starts{0};
  for (int64_t g = 0; g < window_groups(w); ++g) {
    const int32_t* counts = w.tail_counts + g * kWindowRows;
    starts.push_back(std::accumulate(counts, counts + kWindowRows, starts.back()));
  }
  return starts;
}

namespace {

// Of what lies behind the `counted` weights of the tail, up to `tail`.
bool is_padding_zero(const WindowsWeights& w, int64_t value_bytes, int64_t counted, int64_t tail) {
  const auto* values =
      static_cast<const char*>(w.values) + (window_groups(w) * places_of_group(w) + counted) * value_bytes;
  const auto is_zero = [](auto element) { return element == 0; };
  return std::all_of(values, values + (tail - counted) * value_bytes, is_zero) &&
         std::all_of(w.tail_columns + counted, w.tail_columns + tail, is_zero);
}

}  // namespace

const char* find_shape_fault(const WindowsWeights& w, int64_t value_bytes, int64_t values_count) {
  if (const char* fault = find_shape_fault(static_cast<const Weights&>(w))) return fault;
  if (w.cols > kMostWindowCols) return "more than 65536 columns";
  if (w.steps < 0 || w.steps > kWindow) return "not 0 to 32 steps";
  const int64_t tail = values_count - window_groups(w) * places_of_group(w);
  int64_t counted = 0;
  for (int64_t r = 0; r < window_groups(w) * kWindowRows; ++r) {
    if (w.tail_counts[r] < 0 || w.tail_counts[r] > (r < w.rows ? w.cols : 0))
      return "a row's tail is negative, longer than a row, or of no row";
    counted += w.tail_counts[r];
  }
  if (tail != (counted + kTailUnit - 1) / kTailUnit * kTailUnit) return "tails do not add up to the values";
  return is_padding_zero(w, value_bytes, counted, tail) ? nullptr
                                                        : "tails end with weights that no row counts";
}

namespace {

// Places of a group in the order in which they lie. last[window * kWindowRows + r]: the column of the row's
// last weight there, in its window; -1 where there is none.
template <class Bits>
bool are_places_sound(const WindowsWeights& w, int64_t group, int8_t* last) {
  const auto* values = static_cast<const char*>(w.values) + group * places_of_group(w) * sizeof(Bits);
  const uint8_t* columns = w.columns + group * places_of_group(w);
  uint8_t bad = 0;
  std::fill_n(last, 2 * window_pairs(w) * kWindowRows, int8_t{-1});
  for (int64_t pair = 0; pair < window_pairs(w); ++pair) {
    for (int64_t step = 0; step < w.steps; ++step) {
      for (int64_t lane = 0; lane < 2 * kWindowRows; ++lane) {
        Bits value;
        std::memcpy(&value, values + lane * sizeof(Bits), sizeof value);
        int8_t& before = last[pair * 2 * kWindowRows + lane];
        const auto column = static_cast<int8_t>(columns[lane]);
        const bool is_weight = value != 0;
        bad |= static_cast<uint8_t>((columns[lane] >= kWindow) | (is_weight & (column <= before)));
        before = is_weight ? column : before;
      }
      values += 2 * kWindowRows * sizeof(Bits);
      columns += 2 * kWindowRows;
    }
  }
  return bad == 0;
}

bool are_places_sound(const WindowsWeights& w, int64_t value_bytes, int64_t group, int8_t* last) {
  switch (value_bytes) {
    case 1:
      return are_places_sound<uint8_t>(w, group, last);
    case 2:
      return are_places_sound<uint16_t>(w, group, last);
    case 4:
      return are_places_sound<uint32_t>(w, group, last);
    default:
      return are_places_sound<uint64_t>(w, group, last);
  }
}

}  // namespace

const char* find_group_fault(const WindowsWeights& w, int64_t value_bytes, int64_t group,
                             int64_t tail_start) {
  std::vector<int8_t> last(static_cast<size_t>(2 * window_pairs(w) * kWindowRows));
  if (!are_places_sound(w, value_bytes, group, last.data()))
    return "a column is beyond its window or does not ascend in it";
  for (int64_t window = w.cols / kWindow; window < 2 * window_pairs(w); ++window) {
    for (int64_t r = 0; r < kWindowRows; ++r) {
      if (window * kWindow + last[window * kWindowRows + r] >= w.cols && last[window * kWindowRows + r] >= 0)
        return "a weight is behind the last column";
    }
  }
  for (int64_t r = 0; r < kWindowRows; ++r) {
    for (int64_t window = 0; group * kWindowRows + r >= w.rows && window < 2 * window_pairs(w); ++window) {
      if (last[window * kWindowRows + r] >= 0) return "a weight is in a row behind the last";
    }
    int64_t before = -1;
    const int64_t end = tail_start + w.tail_counts[group * kWindowRows + r];
    for (; tail_start < end; ++tail_start) {
      const int64_t column = w.tail_columns[tail_start];
      if (column >= w.cols) return "a column of the tail is out of range";
      if (column <= before || column % kWindow <= last[column / kWindow * kWindowRows + r])
        return "columns of the tail do not ascend, or are not behind those of their window";
      before = column;
    }
  }
  return nullptr;
}

const char* find_fault(const WindowsWeights& w, int64_t values_count) {
  if (const char* fault = find_shape_fault(w, weight_bytes(w.type), values_count)) return fault;
  const std::vector<int64_t> tails = tail_starts(w);
  for (int64_t g = 0; g < window_groups(w); ++g) {
    if (const char* fault = find_group_fault(w, weight_bytes(w.type), g, tails[static_cast<size_t>(g)]))
      return fault;
  }
  return nullptr;
}

}  // namespace prune::kernels
