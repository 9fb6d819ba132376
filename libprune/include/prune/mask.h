// Which weights stay: one bit a weight.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include <prune/error.h>
#include <prune/order_key.h>

namespace prune {

// Bit 1 keeps, bit 0 prunes. Column j of a row is bit j % 64 of its word j / 64, that is bit j % 8 of byte j
// / 8 in memory; the bits behind the last column are 0.
class Mask {
 public:
  Mask() = default;
  // All weights pruned.
  Mask(Index rows, Index cols)
      : rows_(rows), cols_(cols), words_per_row_((cols + 63) / 64), words_(size_t(rows * words_per_row_)) {
    static_assert(std::endian::native == std::endian::little, "bit j is in byte j / 8");
  }

  Index rows() const { return rows_; }
  Index cols() const { return cols_; }
  Index size() const { return rows_ * cols_; }

  bool operator()(Index i, Index j) const { return row(i)[size_t(j / 64)] >> (j % 64) & 1; }
  void set(Index i, Index j, bool keep) {
    const uint64_t bit = uint64_t(1) << (j % 64);
    uint64_t& word = row(i)[size_t(j / 64)];
    word = keep ? word | bit : word & ~bit;
  }

  std::span<uint64_t> row(Index i) { return {words_.data() + i * words_per_row_, size_t(words_per_row_)}; }
  std::span<const uint64_t> row(Index i) const {
    return {words_.data() + i * words_per_row_, size_t(words_per_row_)};
  }

  // Number of kept weights (nnz): in all, or in columns [begin, end) of row i.
  Index count() const {
    Index sum = 0;
    for (const uint64_t word : words_) sum += std::popcount(word);
    return sum;
  }
  Index count_in_row(Index i, Index begin, Index end) const {
    const auto words = row(i);
    Index sum = 0;
    for (Index j = begin; j < end;) {
      const Index stop = std::min(end, (j / 64 + 1) * 64);
      const uint64_t width_mask = ~uint64_t(0) >> (64 - (stop - j));
      sum += std::popcount(words[size_t(j / 64)] >> (j % 64) & width_mask);
      j = stop;
    }
    return sum;
  }
  Index count_in_row(Index i) const { return count_in_row(i, 0, cols_); }
  double sparsity() const { return size() == 0 ? 0.0 : 1.0 - double(count()) / double(size()); }

  friend bool operator==(const Mask&, const Mask&) = default;

 private:
  Index rows_ = 0;
  Index cols_ = 0;
  Index words_per_row_ = 0;
  std::vector<uint64_t> words_;
};

// The mask of the weights that are not zero; -0 is a zero.
template <RowMajorMatrix M>
Mask nonzero_mask(const M& weights) {
  Mask mask(weights.rows(), weights.cols());
  const auto w = view(weights);
  for (Index i = 0; i < w.rows(); ++i) {
    const auto* row = w.data() + i * w.outerStride();
    const auto words = mask.row(i);
    for (Index j = 0; j < w.cols(); ++j) {
      words[size_t(j / 64)] |= uint64_t(!is_zero(row[j])) << (j % 64);
    }
  }
  return mask;
}

namespace detail {

// dst[j] = bit j ? src[j] : +0 for `cols` values of sizeof(U) bytes; src and dst may be the same or apart,
// unaligned.
template <class U>
void apply_row(const void* src, const uint64_t* bits, Index cols, void* dst) {
  typedef U Lanes __attribute__((vector_size(8 * sizeof(U))));
  constexpr Lanes kBit = {1, 2, 4, 8, 16, 32, 64, 128};
  const auto* from = static_cast<const std::byte*>(src);
  auto* to = static_cast<std::byte*>(dst);
  const auto* bytes = reinterpret_cast<const uint8_t*>(bits);
  Index j = 0;
  for (; j + 8 <= cols; j += 8) {
    Lanes values;
    std::memcpy(&values, from + size_t(j) * sizeof(U), sizeof values);
    const Lanes selected = (Lanes{} + U(bytes[j / 8])) & kBit;
    values &= Lanes(selected == kBit);
    std::memcpy(to + size_t(j) * sizeof(U), &values, sizeof values);
  }
  from += size_t(j) * sizeof(U);
  to += size_t(j) * sizeof(U);
  for (int k = 0; k < int(cols % 8); ++k) {
    U value = 0;
    if (bytes[j / 8] >> k & 1) std::memcpy(&value, from + size_t(k) * sizeof(U), sizeof value);
    std::memcpy(to + size_t(k) * sizeof(U), &value, sizeof value);
  }
}

}  // namespace detail

// dst = src where the mask keeps, +0 elsewhere. Kept weights are copied bit for bit. Same shapes; dst may be
// src.
template <RowMajorMatrix Src, class Dst>
requires RowMajorMatrix<std::remove_cvref_t<Dst>> &&
    std::same_as<typename Src::Scalar, typename std::remove_cvref_t<Dst>::Scalar>
void apply(const Mask& mask, const Src& src, Dst&& dst) {
  using T = typename Src::Scalar;
  if (src.rows() != mask.rows() || src.cols() != mask.cols() || dst.rows() != mask.rows() ||
      dst.cols() != mask.cols()) {
    throw_usage("apply: mask, source and destination must have the same shape");
  }
  for (Index i = 0; i < src.rows(); ++i) {
    detail::apply_row<std::make_unsigned_t<KeyOf<T>>>(src.data() + i * src.outerStride(), mask.row(i).data(),
                                                      src.cols(), dst.data() + i * dst.outerStride());
  }
}

// In place.
template <class M>
requires RowMajorMatrix<std::remove_cvref_t<M>>
void apply(const Mask& mask, M&& weights) { apply(mask, weights, weights); }

}  // namespace prune
