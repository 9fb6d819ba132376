#include "kernels/sparse/row_source.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "kernels/sparse/simd/widen.h"

namespace prune::kernels {
namespace {

template <class W>
RowSource describe(const W& w, int64_t kept) {
  RowSource source{.rows = w.rows, .cols = w.cols, .kept = kept, .type = w.type, .scales = {}, .decode = {}};
  if (w.scale_group != 0 || w.type == WeightType::kF16)
    source.type = WeightType::kF32;
  else if (w.scales != nullptr)
    source.scales.assign(w.scales, w.scales + w.rows);
  return source;
}

// A source that decodes what `w` stores, times the scales of groups.
RowSource with_group_scales(const Weights& w, RowSource source) {
  if (w.scale_group == 0) return source;
  source.decode = [w, stored = std::move(source.decode)](int64_t r, int32_t* columns, float* values) {
    const int64_t count = stored(r, columns, values);
    for (int64_t i = 0; i < count; ++i) values[i] *= group_scale(w, r, columns[i]);
    return count;
  };
  return source;
}

// `width` bits (at most 5) from bit position `bit`; the second byte is read only where the value reaches it.
int32_t read_index(const uint8_t* bytes, int64_t bit, int32_t width) {
  const int32_t shift = static_cast<int32_t>(bit % 8);
  uint32_t word = bytes[bit / 8];
  if (shift + width > 8) word |= uint32_t{bytes[bit / 8 + 1]} << 8;
  return static_cast<int32_t>(word >> shift & ((1u << width) - 1));
}

// The reverse of widen().
uint16_t exact_f16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
  if (magnitude >= 0x7f800000) return static_cast<uint16_t>(sign | 0x7c00 | (magnitude >> 13 & 0x3ff));
  const float rebiased = std::bit_cast<float>(magnitude) * 0x1p-112f;
  return static_cast<uint16_t>(sign | std::bit_cast<uint32_t>(rebiased) >> 13);
}

template <class Bits>
int64_t count_not_zero(const void* values, int64_t count) {
  const auto* bits = static_cast<const Bits*>(values);
  return count - std::count(bits, bits + count, Bits{0});
}

// Of `count` values those that decode() takes for weights: all whose bits are not zero.
int64_t count_weights(const void* values, WeightType type, int64_t count) {
  switch (weight_bytes(type)) {
    case 1:
      return count_not_zero<uint8_t>(values, count);
    case 2:
      return count_not_zero<uint16_t>(values, count);
    default:
      return count_not_zero<uint32_t>(values, count);
  }
}

}  // namespace

float load_weight(const void* values, WeightType type, int64_t i) {
  switch (type) {
    case WeightType::kF32:
      return static_cast<const float*>(values)[i];
    case WeightType::kBf16:
      return std::bit_cast<float>(uint32_t{static_cast<const uint16_t*>(values)[i]} << 16);
    case WeightType::kI8:
      return static_cast<const int8_t*>(values)[i];
    case WeightType::kF16:
      return widen(static_cast<const Half*>(values)[i]);
  }
  return 0;
}

uint16_t exact_bf16(float value) { return static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16); }

void store_weight(void* values, WeightType type, int64_t i, float value) {
  switch (type) {
    case WeightType::kF32:
      static_cast<float*>(values)[i] = value;
      break;
    case WeightType::kBf16:
      static_cast<uint16_t*>(values)[i] = exact_bf16(value);
      break;
    case WeightType::kI8:
      static_cast<int8_t*>(values)[i] = static_cast<int8_t>(value);
      break;
    case WeightType::kF16:
      static_cast<uint16_t*>(values)[i] = exact_f16(value);
      break;
  }
}

RowSource read_rows(const NmWeights& w) {
  RowSource source = describe(w, w.rows * (w.cols / w.group * w.keep));
  source.decode = [w](int64_t r, int32_t* columns, float* values) {
    const int32_t bits = nm_index_bits(w.group);
    const int64_t count = w.cols / w.group * w.keep;
    const uint8_t* indices = w.indices + r * nm_row_bytes(w.cols, w.keep, w.group);
    for (int64_t i = 0; i < count; ++i) {
      columns[i] = static_cast<int32_t>(i / w.keep * w.group) + read_index(indices, i * bits, bits);
      values[i] = load_weight(w.values, w.type, r * count + i);
    }
    return count;
  };
  return with_group_scales(w, std::move(source));
}

RowSource read_rows(const BitmaskWeights& w) {
  RowSource source = describe(w, w.row_offsets[w.rows]);
  source.decode = [w](int64_t r, int32_t* columns, float* values) {
    const uint8_t* bits = w.bitmask + r * ((w.cols + 7) / 8);
    int64_t count = 0;
    for (int64_t j = 0; j < w.cols; ++j) {
      if ((bits[j / 8] >> (j % 8) & 1) == 0) continue;
      columns[count] = static_cast<int32_t>(j);
      values[count] = load_weight(w.values, w.type, w.row_offsets[r] + count);
      ++count;
    }
    return count;
  };
  return with_group_scales(w, std::move(source));
}

RowSource read_rows(const CsrWeights& w) {
  RowSource source = describe(w, w.indptr[w.rows]);
  source.decode = [w](int64_t r, int32_t* columns, float* values) {
    const int64_t begin = w.indptr[r], count = w.indptr[r + 1] - begin;
    for (int64_t i = 0; i < count; ++i) {
      columns[i] = w.indices[begin + i];
      values[i] = load_weight(w.values, w.type, begin + i);
    }
    return count;
  };
  return with_group_scales(w, std::move(source));
}

RowSource read_rows(const BsrWeights& w) {
  RowSource source = describe(w, w.indptr[w.rows / w.block_rows] * w.block_rows * w.block_cols);
  source.decode = [w](int64_t r, int32_t* columns, float* values) {
    const int64_t block_row = r / w.block_rows, inner = r % w.block_rows;
    int64_t count = 0;
    for (int64_t b = w.indptr[block_row]; b < w.indptr[block_row + 1]; ++b) {
      const int64_t first = (b * w.block_rows + inner) * w.block_cols;
      for (int32_t c = 0; c < w.block_cols; ++c, ++count) {
        columns[count] = w.indices[b] * w.block_cols + c;
        values[count] = load_weight(w.values, w.type, first + c);
      }
    }
    return count;
  };
  return with_group_scales(w, std::move(source));
}

RowSource read_rows(const WindowsWeights& w) {
  const int64_t places = window_groups(w) * places_of_group(w);
  std::vector<int64_t> tails{0};  // of rows
  for (int64_t r = 0; r < w.rows; ++r) tails.push_back(tails.back() + w.tail_counts[r]);
  RowSource source = describe(w, count_weights(w.values, w.type, places) + tails.back());
  source.decode = [w, places, tails = std::move(tails)](int64_t r, int32_t* columns, float* values) {
    const int64_t first = r / kWindowRows * places_of_group(w) + r % kWindowRows;
    int64_t count = 0, tail = tails[r];
    for (int64_t window = 0; window < 2 * window_pairs(w); ++window) {
      for (int64_t step = 0; step < w.steps; ++step) {
        const int64_t at = first + ((window / 2 * w.steps + step) * 2 + window % 2) * kWindowRows;
        const float value = load_weight(w.values, w.type, at);
        if (std::bit_cast<uint32_t>(value) == 0) continue;
        columns[count] = static_cast<int32_t>(window * kWindow) + w.columns[at];
        values[count++] = value;
      }
      for (; tail < tails[r + 1] && w.tail_columns[tail] < (window + 1) * kWindow; ++tail) {
        columns[count] = w.tail_columns[tail];
        values[count++] = load_weight(w.values, w.type, places + tail);
      }
    }
    return count;
  };
  return with_group_scales(w, std::move(source));
}

uint8_t sign_magnitude(float value) {
  const auto magnitude = static_cast<uint8_t>(value < 0 ? -value : value);
  return value < 0 ? magnitude | 0x80 : magnitude;
}

bool has_minus_128(const RowSource& source) {
  if (source.type != WeightType::kI8) return false;
  std::vector<int32_t> columns(source.cols);
  std::vector<float> row(source.cols);
  for (int64_t r = 0; r < source.rows; ++r) {
    const int64_t count = source.decode(r, columns.data(), row.data());
    for (int64_t i = 0; i < count; ++i) {
      if (row[i] == -128.0f) return true;
    }
  }
  return false;
}

}  // namespace prune::kernels
