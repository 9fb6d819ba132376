// Random pruned weights, packed into every format by the definitions in kernels/sparse/weights.h.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "kernels/sparse/weights.h"

namespace prune::kernels {

// PRUNE_TEST_SEED repeats a failure.
inline uint32_t test_seed() {
  const char* seed = std::getenv("PRUNE_TEST_SEED");
  return seed != nullptr ? static_cast<uint32_t>(std::atoll(seed)) : 20240601u;
}

// A weight matrix in full, its values already exact in `type`.
struct TestMatrix {
  int64_t rows, cols;
  WeightType type;
  std::vector<float> weights;
  std::vector<float> scales;  // empty unless int8
  int64_t scale_group = 0;    // see Weights

  float at(int64_t r, int64_t k) const { return weights[r * cols + k]; }
  float scale(int64_t r, int64_t k) const {
    if (scales.empty()) return 1;
    return scale_group == 0 ? scales[r]
                            : scales[r * ((cols + scale_group - 1) / scale_group) + k / scale_group];
  }
};

// Of int8 weights: another scale for each group of columns.
inline void give_group_scales(TestMatrix& m, int64_t group, std::mt19937& rng) {
  m.scale_group = group;
  m.scales.resize(static_cast<size_t>(m.rows * ((m.cols + group - 1) / group)));
  for (float& scale : m.scales) scale = std::uniform_real_distribution<float>(0.001f, 0.05f)(rng);
}

inline float to_type(float value, WeightType type) {
  if (type == WeightType::kI8) return std::round(value * 40) == 0 ? 1.0f : std::round(value * 40);
  if (type == WeightType::kF32) return value;
  // Eight or eleven bits of mantissa. Arithmetic, because gcc 12.2 loses a mask on the bits of a fresh float.
  const int bits = type == WeightType::kF16 ? 11 : 8;
  int exponent;
  const float mantissa = std::frexp(value, &exponent);
  return std::ldexp(std::trunc(std::ldexp(mantissa, bits)), exponent - bits);
}

// Of 0 or a normal number that half precision holds.
inline uint16_t half_bits(float value) {
  if (value == 0) return 0;
  int exponent;
  const float mantissa = std::frexp(std::fabs(value), &exponent);  // from 0.5 on, below 1
  return static_cast<uint16_t>((value < 0 ? 0x8000 : 0) | (exponent + 14) << 10 |
                               (static_cast<int>(std::ldexp(mantissa, 11)) & 0x3ff));
}

// Blocks of block_rows x block_cols stay with probability density; with group > 0, `keep` of every `group`.
struct Sparsity {
  double density = 0.5;
  int32_t block_rows = 1, block_cols = 1;
  int32_t keep = 0, group = 0;
};

inline TestMatrix random_matrix(int64_t rows, int64_t cols, WeightType type, const Sparsity& s,
                                std::mt19937& rng) {
  TestMatrix m{rows, cols, type, std::vector<float>(rows * cols), {}};
  std::uniform_real_distribution<float> magnitude(0.1f, 2.0f);
  std::bernoulli_distribution stays(s.density), negative(0.5);
  const auto set = [&](int64_t r, int64_t k) {
    const float weight = to_type(magnitude(rng), type);
    m.weights[r * cols + k] = negative(rng) ? -weight : weight;
  };
  if (s.group > 0) {
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t k = 0; k < cols; k += s.group) {
        for (int32_t j = 0, left = s.keep; j < s.group; ++j) {
          if (std::uniform_int_distribution<int32_t>(1, s.group - j)(rng) <= left) set(r, k + j), --left;
        }
      }
    }
  } else {
    for (int64_t r = 0; r < rows; r += s.block_rows) {
      for (int64_t k = 0; k < cols; k += s.block_cols) {
        if (!stays(rng)) continue;
        for (int32_t i = 0; i < s.block_rows; ++i) {
          for (int32_t j = 0; j < s.block_cols; ++j) set(r + i, k + j);
        }
      }
    }
  }
  if (type == WeightType::kI8) {
    for (int64_t r = 0; r < rows; ++r) m.scales.push_back(0.01f * static_cast<float>(1 + r % 7));
  }
  return m;
}

// Elements of one weight type.
class TypedValues {
 public:
  explicit TypedValues(WeightType type) : type_(type) {}
  void push(float value) {
    char raw[4];
    std::memcpy(raw, &value, 4);
    if (type_ == WeightType::kF32) bytes_.insert(bytes_.end(), raw, raw + 4);
    if (type_ == WeightType::kF16) {
      const uint16_t half = half_bits(value);
      std::memcpy(raw, &half, 2);
      bytes_.insert(bytes_.end(), raw, raw + 2);
    }
    if (type_ == WeightType::kBf16) bytes_.insert(bytes_.end(), raw + 2, raw + 4);
    if (type_ == WeightType::kI8) bytes_.push_back(static_cast<char>(static_cast<int8_t>(value)));
    ++count_;
  }
  // Behind the last there is nothing that the address sanitizer would let pass.
  void end() { bytes_.shrink_to_fit(); }
  const void* data() const { return bytes_.data(); }
  int64_t size() const { return count_; }

 private:
  WeightType type_;
  std::vector<char> bytes_;
  int64_t count_ = 0;
};

template <class View>
void describe(View& view, const TestMatrix& m, const TypedValues& values) {
  view.rows = m.rows;
  view.cols = m.cols;
  view.type = m.type;
  view.values = values.data();
  view.scales = m.scales.empty() ? nullptr : m.scales.data();
  view.scale_group = m.scale_group;
  view.values_count = values.size();
}

struct PackedDense {
  TypedValues values;
  DenseWeights view;

  explicit PackedDense(const TestMatrix& m) : values(m.type) {
    for (const float weight : m.weights) values.push(weight);
    describe(view, m, values);
  }
};

struct PackedNm {
  TypedValues values;
  std::vector<uint8_t> indices;
  NmWeights view;

  PackedNm(const TestMatrix& m, int32_t keep, int32_t group) : values(m.type) {
    const int32_t bits = nm_index_bits(group);
    const int64_t row_bytes = nm_row_bytes(m.cols, keep, group);
    indices.assign(m.rows * row_bytes, 0);
    for (int64_t r = 0; r < m.rows; ++r) {
      int64_t bit = 0;
      for (int64_t k = 0; k < m.cols; ++k) {
        if (m.at(r, k) == 0.0f) continue;
        values.push(m.at(r, k));
        for (int32_t b = 0; b < bits; ++b, ++bit) {
          if (k % group >> b & 1) indices[r * row_bytes + bit / 8] |= static_cast<uint8_t>(1 << bit % 8);
        }
      }
    }
    values.end();
    describe(view, m, values);
    view.keep = keep;
    view.group = group;
    view.indices = indices.data();
  }
};

struct PackedBitmask {
  TypedValues values;
  std::vector<uint8_t> bitmask;
  std::vector<int64_t> row_offsets{0};
  BitmaskWeights view;

  explicit PackedBitmask(const TestMatrix& m) : values(m.type) {
    const int64_t row_bytes = (m.cols + 7) / 8;
    bitmask.assign(m.rows * row_bytes, 0);
    for (int64_t r = 0; r < m.rows; ++r) {
      for (int64_t k = 0; k < m.cols; ++k) {
        if (m.at(r, k) == 0.0f) continue;
        values.push(m.at(r, k));
        bitmask[r * row_bytes + k / 8] |= static_cast<uint8_t>(1 << k % 8);
      }
      row_offsets.push_back(values.size());
    }
    values.end();
    describe(view, m, values);
    view.bitmask = bitmask.data();
    view.row_offsets = row_offsets.data();
  }
};

struct PackedCsr {
  TypedValues values;
  std::vector<int32_t> indices;
  std::vector<int64_t> indptr{0};
  CsrWeights view;

  explicit PackedCsr(const TestMatrix& m) : values(m.type) {
    for (int64_t r = 0; r < m.rows; ++r) {
      for (int64_t k = 0; k < m.cols; ++k) {
        if (m.at(r, k) == 0.0f) continue;
        values.push(m.at(r, k));
        indices.push_back(static_cast<int32_t>(k));
      }
      indptr.push_back(values.size());
    }
    describe(view, m, values);
    view.indices = indices.data();
    view.indptr = indptr.data();
  }
};

// Window after window of every row, where places are looked up; the tail is filled up to four.
struct PackedWindows {
  TypedValues values;
  std::vector<uint8_t> columns;
  std::vector<uint16_t> tail_columns;
  std::vector<int32_t> tail_counts;
  WindowsWeights view;

  PackedWindows(const TestMatrix& m, int64_t steps) : values(m.type) {
    const int64_t groups = (m.rows + 15) / 16, pairs = (m.cols + 63) / 64;
    std::vector<float> places(static_cast<size_t>(groups * pairs * steps * 32)), tail;
    columns.assign(places.size(), 0);
    tail_counts.assign(static_cast<size_t>(groups * 16), 0);
    for (int64_t r = 0; r < m.rows; ++r) {
      std::vector<int64_t> used(static_cast<size_t>(2 * pairs));
      for (int64_t k = 0; k < m.cols; ++k) {
        if (m.at(r, k) == 0.0f) continue;
        const int64_t step = used[k / 32]++;
        if (step < steps) {
          const int64_t at = (((r / 16 * pairs + k / 64) * steps + step) * 2 + k / 32 % 2) * 16 + r % 16;
          places[at] = m.at(r, k);
          columns[at] = static_cast<uint8_t>(k % 32);
        } else {
          tail.push_back(m.at(r, k));
          tail_columns.push_back(static_cast<uint16_t>(k));
          ++tail_counts[r];
        }
      }
    }
    for (; tail.size() % 4 != 0; tail_columns.push_back(0)) tail.push_back(0);
    for (const float value : places) values.push(value);
    for (const float value : tail) values.push(value);
    values.end();
    describe(view, m, values);
    view.steps = steps;
    view.columns = columns.data();
    view.tail_columns = tail_columns.data();
    view.tail_counts = tail_counts.data();
  }
};

struct PackedBsr {
  TypedValues values;
  std::vector<int32_t> indices;
  std::vector<int64_t> indptr{0};
  BsrWeights view;

  PackedBsr(const TestMatrix& m, int32_t block_rows, int32_t block_cols) : values(m.type) {
    for (int64_t r = 0; r < m.rows; r += block_rows) {
      for (int64_t k = 0; k < m.cols; k += block_cols) {
        if (m.at(r, k) == 0.0f) continue;  // random_matrix fills a block or leaves it empty
        for (int32_t i = 0; i < block_rows; ++i) {
          for (int32_t j = 0; j < block_cols; ++j) values.push(m.at(r + i, k + j));
        }
        indices.push_back(static_cast<int32_t>(k / block_cols));
      }
      indptr.push_back(static_cast<int64_t>(indices.size()));
    }
    describe(view, m, values);
    view.block_rows = block_rows;
    view.block_cols = block_cols;
    view.indices = indices.data();
    view.indptr = indptr.data();
  }
};

}  // namespace prune::kernels
