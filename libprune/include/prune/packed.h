// Sparse matrices as they are stored: values that stay, and where they belong. Neutral to any processor;
// kernels rearrange them when they load.
//
// All four hold a [rows, cols] weight matrix row-major and give it back: unpack(pack(W)) == W bit for bit
// when W's pruned weights are +0, as apply() leaves them. A packed matrix is a type of its own, so it can't
// be mistaken for a dense one. docs/formats.md has each with an example. CSR and BSR use SciPy's names.
#pragma once

#include <bit>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include <prune/mask.h>
#include <prune/pattern.h>

namespace prune {

// N of every M. Kept weight number t of group g of a row has its column in the group, 0 .. M-1, in bits [b *
// (g * N + t), +b) of the row's index bytes, b = index_bits(M) = ceil(log2 M), ascending in t, lowest bit
// first. For 2:4 that is a nibble idx0 + 4 * idx1 a group, low nibble first.
template <class T>
struct NmPacked {
  NM pattern;
  Index rows = 0;
  Index cols = 0;
  std::vector<T> values;         // [rows, cols * N / M]
  std::vector<uint8_t> indices;  // [rows, index_bytes_per_row(pattern, cols)]
};

// One bit a weight, and the weights whose bit is set.
template <class T>
struct BitmaskPacked {
  Index rows = 0;
  Index cols = 0;
  std::vector<T> values;             // [nnz], row after row
  std::vector<uint8_t> bitmask;      // [rows, ceil(cols / 8)]: column j is bit j % 8 of byte j / 8
  std::vector<int64_t> row_offsets;  // [rows + 1]: row i has values [row_offsets[i], row_offsets[i + 1])
};

// Compressed sparse rows.
template <class T>
struct Csr {
  Index rows = 0;
  Index cols = 0;
  std::vector<T> values;         // [nnz]
  std::vector<int32_t> indices;  // [nnz]: columns, ascending in a row
  std::vector<int64_t> indptr;   // [rows + 1]
};

// Compressed sparse rows of dense blocks.
template <class T>
struct Bsr {
  Block block;
  Index rows = 0;
  Index cols = 0;
  std::vector<T> values;         // [nblocks, R, C], each block row-major
  std::vector<int32_t> indices;  // [nblocks]: block columns, ascending in a block row
  std::vector<int64_t> indptr;   // [rows / R + 1]
};

// ceil(log2 group): the bits of one in-group column.
constexpr int index_bits(int group) { return std::bit_width(unsigned(group - 1)); }

// Bytes of indices for one row: ceil(cols / M * N * index_bits(M) / 8).
constexpr Index index_bytes_per_row(NM pattern, Index cols) {
  return (cols / pattern.group * pattern.keep * index_bits(pattern.group) + 7) / 8;
}

namespace detail {

inline void put_bits(uint8_t* bytes, Index at, int width, unsigned value) {
  for (int b = 0; b < width; ++b, ++at) bytes[at / 8] = uint8_t(bytes[at / 8] | (value >> b & 1) << (at % 8));
}
inline unsigned get_bits(const uint8_t* bytes, Index at, int width) {
  unsigned value = 0;
  for (int b = 0; b < width; ++b, ++at) value |= unsigned(bytes[at / 8] >> (at % 8) & 1) << b;
  return value;
}

// True for every pattern of bits but +0. What a lossless format has to store: a kept -0 is a weight like any
// other.
template <class T>
bool is_stored(const T& value) {
  return bit_pattern(value) != 0;
}

// Which N weights of a group to store: those that are not zero, then -0 (so that it survives), then +0, lower
// columns first. Throws when more than N are not zero.
template <class T>
uint32_t storable_in_group(const T* group, NM pattern, Index row, Index col) {
  uint32_t chosen = 0;
  int room = pattern.keep;
  const auto take = [&](auto wanted) {
    for (int j = 0; j < pattern.group && room > 0; ++j) {
      if ((chosen >> j & 1) == 0 && wanted(group[j])) {
        chosen |= uint32_t(1) << j;
        --room;
      }
    }
  };
  int nonzero = 0;
  for (int j = 0; j < pattern.group; ++j) nonzero += !is_zero(group[j]);
  if (nonzero > pattern.keep) {
    throw_input("row " + std::to_string(row) + ", columns " + std::to_string(col) + " to " +
                std::to_string(col + pattern.group - 1) + ": " + std::to_string(nonzero) +
                " weights are not zero, pattern " + to_string(pattern) + " allows " +
                std::to_string(pattern.keep));
  }
  take([](const T& w) { return !is_zero(w); });
  take([](const T& w) { return is_stored(w); });
  take([](const T&) { return true; });
  return chosen;
}

inline void require_index_range(Index cols) {
  if (cols > std::numeric_limits<int32_t>::max()) {
    throw_input(std::to_string(cols) + " columns are more than 32-bit indices can tell apart");
  }
}

}  // namespace detail

// --- pack: a dense matrix with zeros in place -> packed
// ---------------------------------------------------------------

// Throws Error(kInput) for a group with more than N weights that are not zero (saying where) or a shape that
// can't take the pattern.
template <RowMajorMatrix M>
NmPacked<typename M::Scalar> pack_nm(const M& weights, NM pattern) {
  require_fit(pattern, weights.rows(), weights.cols());
  const auto w = view(weights);
  const Index row_bytes = index_bytes_per_row(pattern, w.cols());
  const int width = index_bits(pattern.group);
  NmPacked<typename M::Scalar> packed{pattern, w.rows(), w.cols(), {}, {}};
  packed.values.reserve(size_t(w.size() / pattern.group * pattern.keep));
  packed.indices.resize(size_t(w.rows() * row_bytes));
  for (Index i = 0; i < w.rows(); ++i) {
    const auto* row = w.data() + i * w.outerStride();
    uint8_t* indices = packed.indices.data() + i * row_bytes;
    Index at = 0;
    for (Index j = 0; j < w.cols(); j += pattern.group) {
      for (uint32_t left = detail::storable_in_group(row + j, pattern, i, j); left; left &= left - 1) {
        const int in_group = std::countr_zero(left);
        packed.values.push_back(row[j + in_group]);
        detail::put_bits(indices, at, width, unsigned(in_group));
        at += width;
      }
    }
  }
  return packed;
}

template <RowMajorMatrix M>
BitmaskPacked<typename M::Scalar> pack_bitmask(const M& weights) {
  const auto w = view(weights);
  const Index row_bytes = (w.cols() + 7) / 8;
  BitmaskPacked<typename M::Scalar> packed{w.rows(), w.cols(), {}, {}, {0}};
  packed.bitmask.resize(size_t(w.rows() * row_bytes));
  for (Index i = 0; i < w.rows(); ++i) {
    const auto* row = w.data() + i * w.outerStride();
    uint8_t* bits = packed.bitmask.data() + i * row_bytes;
    for (Index j = 0; j < w.cols(); ++j) {
      if (!detail::is_stored(row[j])) continue;
      bits[j / 8] = uint8_t(bits[j / 8] | 1 << (j % 8));
      packed.values.push_back(row[j]);
    }
    packed.row_offsets.push_back(int64_t(packed.values.size()));
  }
  return packed;
}

template <RowMajorMatrix M>
Csr<typename M::Scalar> pack_csr(const M& weights) {
  detail::require_index_range(weights.cols());
  const auto w = view(weights);
  Csr<typename M::Scalar> packed{w.rows(), w.cols(), {}, {}, {0}};
  for (Index i = 0; i < w.rows(); ++i) {
    const auto* row = w.data() + i * w.outerStride();
    for (Index j = 0; j < w.cols(); ++j) {
      if (!detail::is_stored(row[j])) continue;
      packed.values.push_back(row[j]);
      packed.indices.push_back(int32_t(j));
    }
    packed.indptr.push_back(int64_t(packed.values.size()));
  }
  return packed;
}

namespace detail {

template <class T>
bool is_stored_block(ConstView<T> w, Block block, Index top, Index left) {
  for (Index r = 0; r < block.rows; ++r) {
    const T* row = w.data() + (top + r) * w.outerStride() + left;
    if (std::any_of(row, row + block.cols, [](const T& x) { return is_stored(x); })) return true;
  }
  return false;
}

}  // namespace detail

// Stores every block that has a weight other than +0. Throws Error(kInput) for a shape that is not a multiple
// of the block.
template <RowMajorMatrix M>
Bsr<typename M::Scalar> pack_bsr(const M& weights, Block block) {
  require_fit(block, weights.rows(), weights.cols());
  detail::require_index_range(weights.cols());
  const auto w = view(weights);
  Bsr<typename M::Scalar> packed{block, w.rows(), w.cols(), {}, {}, {0}};
  for (Index top = 0; top < w.rows(); top += block.rows) {
    for (Index left = 0; left < w.cols(); left += block.cols) {
      if (!detail::is_stored_block(w, block, top, left)) continue;
      for (Index r = 0; r < block.rows; ++r) {
        const auto* row = w.data() + (top + r) * w.outerStride() + left;
        packed.values.insert(packed.values.end(), row, row + block.cols);
      }
      packed.indices.push_back(int32_t(left / block.cols));
    }
    packed.indptr.push_back(int64_t(packed.indices.size()));
  }
  return packed;
}

// --- unpack: packed -> dense, +0 where nothing is stored
// ----------------------------------------------------------------- For packed matrices that pack() made.
// Ones read from a file are checked first (libprune/model/packed_checkpoint.h).

namespace detail {

// Eigen has no Zero() for storage-only scalars such as f8_e4m3; all bits clear is +0 in every type.
template <class T>
Matrix<T> zeros(Index rows, Index cols) {
  Matrix<T> matrix(rows, cols);
  if (matrix.size() > 0) std::memset(static_cast<void*>(matrix.data()), 0, size_t(matrix.size()) * sizeof(T));
  return matrix;
}

}  // namespace detail

template <class T>
Matrix<T> unpack(const NmPacked<T>& packed) {
  Matrix<T> w = detail::zeros<T>(packed.rows, packed.cols);
  const auto [keep, group] = packed.pattern;
  const Index row_bytes = index_bytes_per_row(packed.pattern, packed.cols);
  const int width = index_bits(group);
  const T* value = packed.values.data();
  for (Index i = 0; i < w.rows(); ++i) {
    const uint8_t* indices = packed.indices.data() + i * row_bytes;
    const Index kept = w.cols() / group * keep;
    for (Index t = 0; t < kept; ++t) {
      const unsigned in_group = detail::get_bits(indices, t * width, width);
      w(i, t / keep * group + Index(in_group)) = *value++;
    }
  }
  return w;
}

template <class T>
Matrix<T> unpack(const BitmaskPacked<T>& packed) {
  Matrix<T> w = detail::zeros<T>(packed.rows, packed.cols);
  const Index row_bytes = (packed.cols + 7) / 8;
  for (Index i = 0; i < w.rows(); ++i) {
    const T* value = packed.values.data() + packed.row_offsets[size_t(i)];
    const uint8_t* bits = packed.bitmask.data() + i * row_bytes;
    for (Index j = 0; j < w.cols(); ++j) {
      if (bits[j / 8] >> (j % 8) & 1) w(i, j) = *value++;
    }
  }
  return w;
}

template <class T>
Matrix<T> unpack(const Csr<T>& packed) {
  Matrix<T> w = detail::zeros<T>(packed.rows, packed.cols);
  for (Index i = 0; i < w.rows(); ++i) {
    for (int64_t t = packed.indptr[size_t(i)]; t < packed.indptr[size_t(i) + 1]; ++t) {
      w(i, packed.indices[size_t(t)]) = packed.values[size_t(t)];
    }
  }
  return w;
}

template <class T>
Matrix<T> unpack(const Bsr<T>& packed) {
  Matrix<T> w = detail::zeros<T>(packed.rows, packed.cols);
  const auto [block_rows, block_cols] = packed.block;
  for (Index bi = 0; bi < w.rows() / block_rows; ++bi) {
    for (int64_t t = packed.indptr[size_t(bi)]; t < packed.indptr[size_t(bi) + 1]; ++t) {
      const T* value = packed.values.data() + t * block_rows * block_cols;
      const Index left = Index(packed.indices[size_t(t)]) * block_cols;
      for (Index r = 0; r < block_rows; ++r) {
        std::copy_n(value + r * block_cols, block_cols, &w(bi * block_rows + r, left));
      }
    }
  }
  return w;
}

}  // namespace prune
