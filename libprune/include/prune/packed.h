// Sparse matrices as they are stored: values that stay, and where they belong. Neutral to any processor;
// kernels rearrange them when they load.
//
// All four hold a [rows, cols] weight matrix row-major and give it back: unpack(pack(W)) == W bit for bit
// when W's pruned weights are +0, as apply() leaves them. A packed matrix is a type of its own, so it can't
// be mistaken for a dense one. docs/formats.md has each with an example. CSR and BSR use SciPy's names.
#pragma once

#include <algorithm>
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

// Numbers of a few bits one after the other, lowest bit first, in whole bytes.
class BitWriter {
 public:
  explicit BitWriter(uint8_t* bytes) : next_(bytes) {}
  void put(unsigned value, int width) {
    word_ |= uint64_t(value) << filled_;
    filled_ += width;
    if (filled_ < 32) return;
    for (int b = 0; b < 4; ++b) next_[b] = uint8_t(word_ >> (8 * b));
    next_ += 4;
    word_ >>= 32;
    filled_ -= 32;
  }
  // The last bytes, 0 behind the last number.
  void finish() {
    for (; filled_ > 0; filled_ -= 8, word_ >>= 8) *next_++ = uint8_t(word_);
  }

 private:
  uint8_t* next_;
  uint64_t word_ = 0;
  int filled_ = 0;
};

class BitReader {
 public:
  explicit BitReader(const uint8_t* bytes) : next_(bytes) {}
  // width: at most 8.
  unsigned get(int width) {
    if (filled_ < width) {
      word_ |= unsigned(*next_++) << filled_;
      filled_ += 8;
    }
    const unsigned value = word_ & ((1u << width) - 1);
    word_ >>= width;
    filled_ -= width;
    return value;
  }

 private:
  const uint8_t* next_;
  unsigned word_ = 0;
  int filled_ = 0;
};

// True for every pattern of bits but +0. What a lossless format has to store: a kept -0 is a weight like any
// other.
template <class T>
bool is_stored(const T& value) {
  return bit_pattern(value) != 0;
}

// Bit j: whether holds(weights[j]), of up to 64.
template <class T, class Holds>
uint64_t bits_where(const T* weights, Index count, const Holds& holds) {
  uint64_t bits = 0;
  for (Index j = 0; j < count; ++j) bits |= uint64_t(holds(weights[j])) << j;
  return bits;
}

[[noreturn]] inline void throw_too_full(int nonzero, NM pattern, Index row, Index col) {
  throw_input("row " + std::to_string(row) + ", columns " + std::to_string(col) + " to " +
              std::to_string(col + pattern.group - 1) + ": " + std::to_string(nonzero) +
              " weights are not zero, pattern " + to_string(pattern) + " allows " +
              std::to_string(pattern.keep));
}

// Which N weights of a group to store: those that are not zero, then -0 (so that it survives), then +0, lower
// columns first. Throws when more than N are not zero.
template <class T>
uint32_t storable_in_group(const T* group, NM pattern, Index row, Index col) {
  uint64_t chosen = bits_where(group, pattern.group, [](const T& w) { return !is_zero(w); });
  int room = pattern.keep - std::popcount(chosen);
  if (room == 0) return uint32_t(chosen);
  if (room < 0) throw_too_full(pattern.keep - room, pattern, row, col);
  const uint64_t all = (uint64_t(1) << pattern.group) - 1;
  const uint64_t negative_zeros =
      bits_where(group, pattern.group, [](const T& w) { return is_stored(w); }) & ~chosen;
  for (const uint64_t zeros : {negative_zeros, all & ~chosen & ~negative_zeros}) {
    for (uint64_t left = zeros; left != 0 && room > 0; left &= left - 1, --room) chosen |= left & -left;
  }
  return uint32_t(chosen);
}

// f(j) for every column j of a row whose weight is stored. before(j, bits) is told of 64 columns from j on,
// or of what is left of the row, in advance.
template <class T, class Before, class F>
void visit_stored(const T* row, Index cols, const Before& before, const F& f) {
  for (Index j = 0; j < cols; j += 64) {
    uint64_t bits =
        bits_where(row + j, std::min<Index>(64, cols - j), [](const T& w) { return is_stored(w); });
    before(j, bits);
    for (; bits != 0; bits &= bits - 1) f(j + std::countr_zero(bits));
  }
}

// [rows + 1]: how many weights are stored before each row.
template <class T>
std::vector<int64_t> stored_before_rows(ConstView<T> w) {
  std::vector<int64_t> before(size_t(w.rows() + 1));
  for (Index i = 0; i < w.rows(); ++i) {
    const T* row = w.data() + i * w.outerStride();
    const auto stored = std::count_if(row, row + w.cols(), [](const T& x) { return is_stored(x); });
    before[size_t(i + 1)] = before[size_t(i)] + stored;
  }
  return before;
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
  packed.values.resize(size_t(w.size() / pattern.group * pattern.keep));
  packed.indices.resize(size_t(w.rows() * row_bytes));
  auto* value = packed.values.data();
  for (Index i = 0; i < w.rows(); ++i) {
    const auto* row = w.data() + i * w.outerStride();
    detail::BitWriter indices(packed.indices.data() + i * row_bytes);
    for (Index j = 0; j < w.cols(); j += pattern.group) {
      for (uint32_t left = detail::storable_in_group(row + j, pattern, i, j); left; left &= left - 1) {
        const int in_group = std::countr_zero(left);
        *value++ = row[j + in_group];
        indices.put(unsigned(in_group), width);
      }
    }
    indices.finish();
  }
  return packed;
}

template <RowMajorMatrix M>
BitmaskPacked<typename M::Scalar> pack_bitmask(const M& weights) {
  const auto w = view(weights);
  const Index row_bytes = (w.cols() + 7) / 8;
  BitmaskPacked<typename M::Scalar> packed{w.rows(), w.cols(), {}, {}, detail::stored_before_rows(w)};
  packed.values.resize(size_t(packed.row_offsets.back()));
  packed.bitmask.resize(size_t(w.rows() * row_bytes));
  auto* value = packed.values.data();
  for (Index i = 0; i < w.rows(); ++i) {
    const auto* row = w.data() + i * w.outerStride();
    uint8_t* bytes = packed.bitmask.data() + i * row_bytes;
    const auto put_bits = [&](Index col, uint64_t bits) {
      for (Index byte = col / 8; byte < std::min(row_bytes, col / 8 + 8); ++byte, bits >>= 8)
        bytes[byte] = uint8_t(bits);
    };
    detail::visit_stored(row, w.cols(), put_bits, [&](Index j) { *value++ = row[j]; });
  }
  return packed;
}

template <RowMajorMatrix M>
Csr<typename M::Scalar> pack_csr(const M& weights) {
  detail::require_index_range(weights.cols());
  const auto w = view(weights);
  Csr<typename M::Scalar> packed{w.rows(), w.cols(), {}, {}, detail::stored_before_rows(w)};
  packed.values.resize(size_t(packed.indptr.back()));
  packed.indices.resize(packed.values.size());
  auto* value = packed.values.data();
  int32_t* index = packed.indices.data();
  for (Index i = 0; i < w.rows(); ++i) {
    const auto* row = w.data() + i * w.outerStride();
    const auto ignore_bits = [](Index, uint64_t) {};
    detail::visit_stored(row, w.cols(), ignore_bits, [&](Index j) {
      *value++ = row[j];
      *index++ = int32_t(j);
    });
  }
  return packed;
}

namespace detail {

template <class T>
bool is_stored_block(ConstView<T> w, Block block, Index top, Index left) {
  for (Index r = 0; r < block.rows; ++r) {
    const T* row = w.data() + (top + r) * w.outerStride() + left;
    KeyOf<T> bits = 0;  // of all weights of a row at once: a loop without a way out is one of vectors
    for (Index c = 0; c < block.cols; ++c) bits = KeyOf<T>(bits | bit_pattern(row[c]));
    if (bits != 0) return true;
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
      if (detail::is_stored_block(w, block, top, left)) packed.indices.push_back(int32_t(left / block.cols));
    }
    packed.indptr.push_back(int64_t(packed.indices.size()));
  }
  packed.values.resize(packed.indices.size() * size_t(block.rows * block.cols));
  auto* value = packed.values.data();
  for (Index top = 0; top < w.rows(); top += block.rows) {
    const auto strip = size_t(top / block.rows);
    for (int64_t t = packed.indptr[strip]; t < packed.indptr[strip + 1]; ++t) {
      const auto* rows = w.data() + top * w.outerStride() + Index(packed.indices[size_t(t)]) * block.cols;
      for (Index r = 0; r < block.rows; ++r)
        value = std::copy_n(rows + r * w.outerStride(), block.cols, value);
    }
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
    T* row = w.data() + i * w.cols();
    detail::BitReader indices(packed.indices.data() + i * row_bytes);
    for (Index j = 0; j < w.cols(); j += group) {
      for (int t = 0; t < keep; ++t) row[j + Index(indices.get(width))] = *value++;
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
    T* row = w.data() + i * w.cols();
    for (Index byte = 0; byte < row_bytes; ++byte) {
      const unsigned in_row = 8 * (byte + 1) <= w.cols() ? 255 : (1u << w.cols() % 8) - 1;
      for (unsigned left = bits[byte] & in_row; left != 0; left &= left - 1)
        row[8 * byte + std::countr_zero(left)] = *value++;
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
