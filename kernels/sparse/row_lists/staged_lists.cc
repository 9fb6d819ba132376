#include "kernels/sparse/row_lists/staged_lists.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <type_traits>
#include <utility>
#include <vector>

#include "kernels/sparse/at_first_use.h"
#include "kernels/sparse/buffer.h"
#include "kernels/sparse/group_scales.h"
#include "kernels/sparse/row_lists/row_lists.h"
#include "kernels/sparse/simd/prefetch.h"
#include "kernels/sparse/simd/widen.h"

namespace prune::kernels {
namespace {

// Their lists fit the second-level cache where a tenth stays of some thousand inputs.
constexpr int64_t kChunkRows = 64;
static_assert(kChunkRows <= kListChunkRows && kChunkRows % 2 == 0);
// Which of the kernels is best depends on how many weights stay, which the arrays say when they are read;
// they are not before the layout runs.
constexpr double kSupposedDensity = 0.2;

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t a, int64_t b) { return divide_up(a, b) * b; }

// The weights of a row that are left to be put into lists. Columns ascend.
template <class T>
struct Piece {
  const int32_t* columns;
  const T* values;
  int64_t count;
};

// Blocks are worked off row by row, a line or two of each: what lies in the arrays comes from memory in its
// own order before.
template <class T>
void ask_for(const T* array, int64_t count) {
  constexpr int64_t kLine = 64;
  const int64_t bytes = count * static_cast<int64_t>(sizeof(T));
  for (int64_t at = 0; at < bytes; at += kLine) prefetch_second_level(array, at);
}

// Readers give the rows of a format: where they lie, or decoded into the memory that is passed.
template <class T>
class CsrReader {
 public:
  using Value = T;
  static constexpr bool kDecodes = false;

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

// Any format, as floats.
template <class W>
class SourceReader {
 public:
  using Value = float;
  static constexpr bool kDecodes = true;

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

// How much memory a chunk takes, and where it lies: weights that are decoded, and lists.
struct ChunkSizes {
  int64_t decoded;
  int64_t pairs;   // of rows and blocks
  int64_t places;  // of weights in lists
};
class ChunkMemory {
 public:
  explicit ChunkMemory(const ChunkSizes& sizes, void* scratch = nullptr)
      : memory_(static_cast<char*>(scratch)),
        columns(take<int32_t>(sizes.decoded)),
        weights(take<float>(sizes.decoded)),
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
    return static_cast<uint16_t>((piece.columns[e] - first_column) * row_bytes);
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
    for (int64_t e = 0; e < whole; ++e) put(a, b, e, k0);
    for (int64_t e = whole; e < 2 * steps; ++e) {
      put_end(a, e, 0, k0);
      put_end(b, e, 1, k0);
    }
    offsets_ += 4 * steps * sizeof(typename Entry::Offsets);
    values_ += 4 * steps;
  }

  // Entry e of both rows.
  void put(const Piece<T>& a, const Piece<T>& b, int64_t e, int64_t k0) {
    const typename Entry::Offsets offsets[2] = {Entry::offsets(a, e, k0, row_bytes_),
                                                Entry::offsets(b, e, k0, row_bytes_)};
    const uint32_t values[2] = {Entry::values(a, e), Entry::values(b, e)};
    std::memcpy(offsets_ + e * sizeof offsets, offsets, sizeof offsets);
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

template <class Reader>
class StagedLists final : public ManyRows {
 public:
  template <class W>
  StagedLists(const W& weights, const RowListsKernel& kernel)
      : StagedLists(Reader(weights), weights, kernel, stored_bytes(weights)) {}

  const char* kernel_name() const override { return kernel_.name; }
  size_t bytes() const override { return stored_bytes_; }
  size_t own_bytes() const override { return frame_bytes() + reader_.own_bytes(); }
  bool is_in_place() const override { return true; }

 private:
  using T = typename Reader::Value;

  StagedLists(Reader reader, const Weights& w, const RowListsKernel& kernel, size_t stored_bytes)
      : ManyRows(w.rows, w.cols, kChunkRows, kernel.panel, copy_row_scales(w),
                 ChunkMemory(sizes_of(reader, w, kernel)).bytes()),
        reader_(std::move(reader)),
        rows_(w.rows),
        cols_(w.cols),
        sizes_(sizes_of(reader_, w, kernel)),
        stored_bytes_(stored_bytes),
        kernel_(kernel) {}

  static ChunkSizes sizes_of(const Reader& reader, const Weights& w, const RowListsKernel& kernel) {
    int64_t most = 0;
    for (int64_t r = 0; r < w.rows; r += kChunkRows)
      most = std::max(most, reader.stored_before(std::min(r + kChunkRows, w.rows)) - reader.stored_before(r));
    // Lists of a pair and block are as long as the longer one, in whole steps.
    const int64_t pairs = kChunkRows / 2 * divide_up(w.cols, kernel.block_inputs);
    return {Reader::kDecodes ? most : 0, pairs, 2 * most + 8 * pairs};
  }

  int64_t rows_in(int64_t chunk) const { return std::min(kChunkRows, rows_ - chunk * kChunkRows); }

  bool stages() const override { return true; }
  void stage(int64_t chunk, int64_t, void* scratch) const override {
    const ChunkMemory memory(sizes_, scratch);
    std::array<Piece<T>, kChunkRows> left;
    int64_t decoded = 0;
    for (int64_t r = 0; r < rows_in(chunk); ++r) {
      left[r] = reader_.read(chunk * kChunkRows + r, memory.columns + decoded, memory.weights + decoded);
      if (Reader::kDecodes) decoded += left[r].count;
    }
    // The last row's partner, where it has none, is empty.
    const int64_t rows = round_up(rows_in(chunk), 2);
    if (rows > rows_in(chunk)) left[rows - 1] = {nullptr, nullptr, 0};
    if (kernel_.bf16)
      Stager<T, Bf16Entry>(kernel_, cols_, memory).stage(left, rows);
    else
      Stager<T, FloatEntry>(kernel_, cols_, memory).stage(left, rows);
  }

  void multiply(int64_t chunk, int64_t, const Panel& panel, float* tile, void* scratch) const override {
    const ChunkMemory memory(sizes_, scratch);
    const int64_t blocks = divide_up(cols_, kernel_.block_inputs);
    // The first block sets the tile; without inputs there is none.
    if (blocks == 0) std::fill_n(tile, kChunkRows * kernel_.panel.panel_columns, 0.0F);
    kernel_.multiply({.pairs = memory.pairs,
                      .offsets = memory.offsets,
                      .values = memory.values,
                      .pair_count = divide_up(rows_in(chunk), 2),
                      .blocks = blocks},
                     panel.data, panel.columns, tile);
  }

  Reader reader_;
  int64_t rows_;
  int64_t cols_;
  ChunkSizes sizes_;
  size_t stored_bytes_;
  const RowListsKernel& kernel_;
};

template <class Reader, class W>
std::unique_ptr<const Layout> make(const W& weights, const PrepareOptions& options) {
  // As read_rows() says.
  const bool is_float = weights.scale_group != 0 || !fits_bf16(weights.type);
  const RowListsKernel* kernel =
      choose_row_lists_kernel(is_float ? WeightType::kF32 : weights.type, kSupposedDensity, options);
  if (kernel == nullptr) return nullptr;
  return at_first_use(kernel->name, [=] { return std::make_unique<StagedLists<Reader>>(weights, *kernel); });
}

}  // namespace

std::unique_ptr<const Layout> make_staged_lists(const CsrWeights& weights, const PrepareOptions& options) {
  if (weights.scale_group == 0) {
    if (weights.type == WeightType::kF32) return make<CsrReader<float>>(weights, options);
    if (weights.type == WeightType::kBf16) return make<CsrReader<uint16_t>>(weights, options);
    if (weights.type == WeightType::kI8) return make<CsrReader<int8_t>>(weights, options);
  }
  return make<SourceReader<CsrWeights>>(weights, options);
}
std::unique_ptr<const Layout> make_staged_lists(const NmWeights& weights, const PrepareOptions& options) {
  return make<SourceReader<NmWeights>>(weights, options);
}
std::unique_ptr<const Layout> make_staged_lists(const BitmaskWeights& weights,
                                                const PrepareOptions& options) {
  return make<SourceReader<BitmaskWeights>>(weights, options);
}
std::unique_ptr<const Layout> make_staged_lists(const WindowsWeights& weights,
                                                const PrepareOptions& options) {
  return make<SourceReader<WindowsWeights>>(weights, options);
}

}  // namespace prune::kernels
