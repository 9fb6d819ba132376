// Packed weights row by row, for lists that are made of them again and again: values stay where they lie, and
// column numbers are written out where the format has none.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/sparse/row_source.h"
#include "kernels/sparse/simd/prefetch.h"

namespace prune::kernels {
namespace {

// Some weights of a row. Columns ascend.
template <class T>
struct Piece {
  const int32_t* columns;
  const T* values;
  int64_t count;
};

// Blocks of inputs are worked off row by row, a line or two of each: what lies in the arrays comes from
// memory in its own order before.
template <class T>
void ask_for(const T* array, int64_t count) {
  constexpr int64_t kLine = 64;
  const int64_t bytes = count * static_cast<int64_t>(sizeof(T));
  for (int64_t at = 0; at < bytes; at += kLine) prefetch_second_level(array, at);
}

// Readers of a format with values of type T. read() returns a row; what it decodes it writes into `columns`
// and `values`, which then have room for the row's weights; `columns` for kReadSlack more.
inline constexpr int64_t kReadSlack = 8;

template <class T>
class CsrReader {
 public:
  using Value = T;
  static constexpr bool kDecodesColumns = false, kDecodesValues = false;

  explicit CsrReader(const CsrWeights& w) : w_(w) {}
  int64_t stored_before(int64_t r) const { return w_.indptr[r]; }
  size_t own_bytes() const { return 0; }
  Piece<T> read(int64_t r, int32_t*, float*) const {
    const int64_t begin = w_.indptr[r];
    const Piece<T> row{w_.indices + begin, static_cast<const T*>(w_.values) + begin,
                       w_.indptr[r + 1] - begin};
    ask_for(row.columns, row.count);
    ask_for(row.values, row.count);
    return row;
  }

 private:
  CsrWeights w_;
};

template <class T>
class Nm24Reader {
 public:
  using Value = T;
  static constexpr bool kDecodesColumns = true, kDecodesValues = false;

  explicit Nm24Reader(const NmWeights& w) : w_(w) {}
  int64_t stored_before(int64_t r) const { return r * of_row(); }
  size_t own_bytes() const { return 0; }
  Piece<T> read(int64_t r, int32_t* columns, float*) const {
    const uint8_t* indices = w_.indices + r * nm_row_bytes(w_.cols, 2, 4);
    const Piece<T> row{columns, static_cast<const T*>(w_.values) + r * of_row(), of_row()};
    ask_for(row.values, row.count);
    // Two groups to a byte; half of the last one may lie behind the row.
    for (int32_t k = 0; k < w_.cols; k += 8, columns += 4) {
      const int32_t byte = *indices++;
      columns[0] = k + (byte & 3);
      columns[1] = k + (byte >> 2 & 3);
      columns[2] = k + 4 + (byte >> 4 & 3);
      columns[3] = k + 4 + (byte >> 6);
    }
    return row;
  }

 private:
  int64_t of_row() const { return w_.cols / 2; }

  NmWeights w_;
};

// How many bits of a byte are set, and where they are.
struct BitPlaces {
  alignas(64) int8_t of[256][8];
  int8_t count[256];
  constexpr BitPlaces() : of(), count() {
    for (int byte = 0; byte < 256; ++byte) {
      for (int bit = 0; bit < 8; ++bit) {
        if ((byte >> bit & 1) != 0) of[byte][count[byte]++] = static_cast<int8_t>(bit);
      }
    }
  }
};
inline constexpr BitPlaces kBitPlaces;

template <class T>
class BitmaskReader {
 public:
  using Value = T;
  static constexpr bool kDecodesColumns = true, kDecodesValues = false;

  explicit BitmaskReader(const BitmaskWeights& w) : w_(w) {}
  int64_t stored_before(int64_t r) const { return w_.row_offsets[r]; }
  size_t own_bytes() const { return 0; }
  Piece<T> read(int64_t r, int32_t* columns, float*) const {
    const int64_t begin = w_.row_offsets[r], bytes = (w_.cols + 7) / 8;
    const Piece<T> row{columns, static_cast<const T*>(w_.values) + begin, w_.row_offsets[r + 1] - begin};
    ask_for(row.values, row.count);
    const uint8_t* bits = w_.bitmask + r * bytes;
    // Eight columns are written whatever stays, and overwritten by those of the next byte.
    for (int64_t b = 0; b < bytes; ++b) {
      const int8_t* places = kBitPlaces.of[bits[b]];
      for (int i = 0; i < 8; ++i) columns[i] = static_cast<int32_t>(8 * b) + places[i];
      columns += kBitPlaces.count[bits[b]];
    }
    return row;
  }

 private:
  BitmaskWeights w_;
};

// Any format, as floats.
template <class W>
class SourceReader {
 public:
  using Value = float;
  static constexpr bool kDecodesColumns = true, kDecodesValues = true;

  explicit SourceReader(const W& w) : source_(read_rows(w)), stored_before_(count(w)) {}
  int64_t stored_before(int64_t r) const { return stored_before_[r]; }
  // The source of windows knows as many places of tails.
  size_t own_bytes() const {
    return 2 * stored_before_.size() * sizeof(int64_t) + source_.scales.size() * sizeof(float);
  }
  Piece<float> read(int64_t r, int32_t* columns, float* values) const {
    const int64_t count = source_.decode(r, columns, values);
    return {columns, values, count};
  }

 private:
  static std::vector<int64_t> count(const CsrWeights& w) { return {w.indptr, w.indptr + w.rows + 1}; }
  static std::vector<int64_t> count(const BitmaskWeights& w) {
    return {w.row_offsets, w.row_offsets + w.rows + 1};
  }
  static std::vector<int64_t> count(const NmWeights& w) {
    std::vector<int64_t> counts(static_cast<size_t>(w.rows) + 1);
    for (int64_t r = 0; r <= w.rows; ++r) counts[r] = r * (w.cols / w.group * w.keep);
    return counts;
  }
  // Places that are empty among them.
  static std::vector<int64_t> count(const WindowsWeights& w) {
    std::vector<int64_t> counts{0};
    const int64_t of_row = places_of_group(w) / kWindowRows;
    for (int64_t r = 0; r < w.rows; ++r) counts.push_back(counts.back() + of_row + w.tail_counts[r]);
    return counts;
  }

  RowSource source_;
  std::vector<int64_t> stored_before_;
};

}  // namespace
}  // namespace prune::kernels
