// Makes the lists of row_lists/kernel.h for a chunk of rows: nothing is shared, as that would take longer to
// find than it saves.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <type_traits>
#include <utility>

#include "kernels/sparse/buffer.h"
#include "kernels/sparse/row_lists/kernel.h"
#include "kernels/sparse/row_lists/stored_rows.h"
#include "kernels/sparse/simd/widen.h"

namespace prune::kernels {
namespace {

// Their lists fit the second-level cache where a tenth stays of some thousand inputs.
inline constexpr int64_t kChunkRows = 64;
static_assert(kChunkRows <= kListChunkRows && kChunkRows % 2 == 0);

inline int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t round_up(int64_t a, int64_t b) { return divide_up(a, b) * b; }

// How much memory a chunk takes, and where it lies: what of the weights is decoded, and lists.
struct ChunkSizes {
  int64_t columns;
  int64_t weights;
  int64_t pairs;   // of rows and blocks
  int64_t places;  // of weights in lists
};
class ChunkMemory {
 public:
  explicit ChunkMemory(const ChunkSizes& sizes, void* scratch = nullptr)
      : memory_(static_cast<char*>(scratch)),
        columns(take<int32_t>(sizes.columns)),
        weights(take<float>(sizes.weights)),
        pairs(take<ListPair>(sizes.pairs)),
        offsets(take<uint16_t>(sizes.places)),
        values(take<uint32_t>(sizes.places)) {}

  int64_t bytes() const { return bytes_; }

 private:
  char* memory_;
  int64_t bytes_ = 0;

  template <class T>
  T* take(int64_t count) {
    const int64_t at = bytes_;
    bytes_ += round_up(count * static_cast<int64_t>(sizeof(T)), Buffer::kAlignment);
    return memory_ == nullptr ? nullptr : reinterpret_cast<T*>(memory_ + at);
  }

 public:
  int32_t* columns;
  float* weights;
  ListPair* pairs;
  uint16_t* offsets;
  uint32_t* values;
};

// Entries of lists, of one weight in float or of two in bf16. Those behind the last weight are zeros of the
// block's first input.
template <class T>
uint32_t float_bits(T value) {
  return std::bit_cast<uint32_t>(widen(value));
}

struct FloatEntry {
  static constexpr int64_t kWeights = 1;
  using Offsets = uint16_t;

  template <class T>
  static Offsets offsets(const Piece<T>& piece, int64_t e, int64_t first_column, int64_t row_bytes) {
    const auto column = static_cast<uint16_t>(piece.columns[e] - static_cast<int32_t>(first_column));
    return static_cast<uint16_t>(column * static_cast<uint16_t>(row_bytes));
  }
  template <class T>
  static uint32_t values(const Piece<T>& piece, int64_t e) {
    return float_bits(piece.values[e]);
  }
};

struct Bf16Entry {
  static constexpr int64_t kWeights = 2;
  using Offsets = uint32_t;

  template <class T>
  static Offsets offsets(const Piece<T>& piece, int64_t e, int64_t first_column, int64_t row_bytes) {
    // Both at once: a product is less than 2^16.
    uint64_t columns;
    std::memcpy(&columns, piece.columns + 2 * e, sizeof columns);
    const uint64_t bytes =
        (columns - static_cast<uint64_t>(first_column) * 0x100000001) * static_cast<uint64_t>(row_bytes);
    return static_cast<uint32_t>(bytes | bytes >> 16);
  }
  template <class T>
  static uint32_t values(const Piece<T>& piece, int64_t e) {
    const T* two = piece.values + 2 * e;
    if constexpr (std::is_same_v<T, uint16_t>) {
      uint32_t bits;
      std::memcpy(&bits, two, sizeof bits);
      return bits;
    } else {
      return float_bits(two[0]) >> 16 | (float_bits(two[1]) & 0xffff0000);
    }
  }
};

// Makes the lists of one chunk: of every block of inputs, rows two and two.
template <class T, class Entry>
class Stager {
 public:
  Stager(const RowListsKernel& kernel, int64_t cols, const ChunkMemory& memory)
      : cols_(cols),
        block_inputs_(kernel.block_inputs),
        row_bytes_(int64_t{kernel.panel.panel_columns} * kernel.panel.input_bytes),
        pairs_(memory.pairs),
        offsets_(reinterpret_cast<char*>(memory.offsets)),
        values_(memory.values) {}

  // rows: an even number.
  void stage(std::array<Piece<T>, kChunkRows>& left, int64_t rows) {
    for (int64_t k0 = 0; k0 < cols_; k0 += block_inputs_) {
      for (int64_t r = 0; r < rows; ++r) block_[r] = cut(left[r], std::min(k0 + block_inputs_, cols_));
      sort_by_length(rows);
      for (int64_t i = 0; i < rows; i += 2) add_pair(order_[i], order_[i + 1], k0);
    }
  }

 private:
  static constexpr int kTogether = 4;

  // What a row has left before a column is taken from it.
  static Piece<T> cut(Piece<T>& left, int64_t end) {
    int64_t count = 0;
    while (count + 4 <= left.count && left.columns[count + 3] < end) count += 4;
    while (count < left.count && left.columns[count] < end) ++count;
    const Piece<T> piece{left.columns, left.values, count};
    left = {left.columns + count, left.values + count, left.count - count};
    return piece;
  }

  // Longest first, so that the rows of a pair, and a pair and the next, are of about one length.
  void sort_by_length(int64_t rows) {
    int64_t most = 0;
    for (int64_t r = 0; r < rows; ++r) most = std::max(most, block_[r].count);
    std::fill_n(places_.begin(), most + 1, uint8_t{0});
    for (int64_t r = 0; r < rows; ++r) ++places_[block_[r].count];
    uint8_t longer = 0;
    for (int64_t count = most; count >= 0; --count) longer += std::exchange(places_[count], longer);
    for (int64_t r = 0; r < rows; ++r) order_[places_[block_[r].count]++] = static_cast<uint8_t>(r);
  }

  void add_pair(uint8_t row0, uint8_t row1, int64_t k0) {
    const Piece<T>&a = block_[row0], &b = block_[row1];
    const int64_t steps = divide_up(a.count, 2 * Entry::kWeights), whole = b.count / Entry::kWeights;
    *pairs_++ = {.rows = {row0, row1}, .shared = 0, .single = static_cast<uint8_t>(steps)};
    int64_t e = 0;
    for (; e + kTogether <= whole; e += kTogether) put<kTogether>(a, b, e, k0);
    for (; e < whole; ++e) put<1>(a, b, e, k0);
    for (; e < 2 * steps; ++e) {
      put_end(a, e, 0, k0);
      put_end(b, e, 1, k0);
    }
    offsets_ += 4 * steps * sizeof(typename Entry::Offsets);
    values_ += 4 * steps;
  }

  // Entries from e on of both rows, N at a time so that the compiler makes vectors of them.
  template <int N>
  void put(const Piece<T>& a, const Piece<T>& b, int64_t e, int64_t k0) {
    typename Entry::Offsets offsets[2 * N];
    uint32_t values[2 * N];
    for (int64_t i = 0; i < N; ++i) {
      offsets[2 * i] = Entry::offsets(a, e + i, k0, row_bytes_);
      offsets[2 * i + 1] = Entry::offsets(b, e + i, k0, row_bytes_);
      values[2 * i] = Entry::values(a, e + i);
      values[2 * i + 1] = Entry::values(b, e + i);
    }
    std::memcpy(offsets_ + 2 * e * sizeof *offsets, offsets, sizeof offsets);
    std::memcpy(values_ + 2 * e, values, sizeof values);
  }
  // Of one row, that may have no such entry, or half of one.
  void put_end(const Piece<T>& piece, int64_t e, int64_t side, int64_t k0) {
    int32_t columns[2] = {static_cast<int32_t>(k0), static_cast<int32_t>(k0)};
    T weights[2] = {};
    for (int64_t i = 0; i < Entry::kWeights && e * Entry::kWeights + i < piece.count; ++i) {
      columns[i] = piece.columns[e * Entry::kWeights + i];
      weights[i] = piece.values[e * Entry::kWeights + i];
    }
    const Piece<T> entry{columns, weights, 2};
    const typename Entry::Offsets offsets = Entry::offsets(entry, 0, k0, row_bytes_);
    std::memcpy(offsets_ + (2 * e + side) * sizeof offsets, &offsets, sizeof offsets);
    values_[2 * e + side] = Entry::values(entry, 0);
  }

  int64_t cols_;
  int64_t block_inputs_;
  int64_t row_bytes_;  // of a panel
  ListPair* pairs_;
  char* offsets_;
  uint32_t* values_;
  std::array<Piece<T>, kChunkRows> block_;
  std::array<uint8_t, kChunkRows> order_;
  std::array<uint8_t, kMostBlockInputs + 1> places_;  // of rows of so many weights in the order
};

}  // namespace
}  // namespace prune::kernels
