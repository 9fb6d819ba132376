#include "libprune/model/sparsity_profile.h"

#include <algorithm>
#include <bit>

#include <prune/float8.h>

namespace prune {
namespace {

// Weights per nibble of each nibble, then of each byte: the usual parallel count, stopped early.
constexpr uint64_t nibble_counts(uint64_t word) {
  word -= word >> 1 & 0x5555555555555555u;
  return (word & 0x3333333333333333u) + (word >> 2 & 0x3333333333333333u);
}
constexpr uint64_t byte_counts(uint64_t word) {
  const uint64_t nibbles = nibble_counts(word);
  return (nibbles + (nibbles >> 4)) & 0x0f0f0f0f0f0f0f0fu;
}

// Whether a field of `counts` exceeds `limit`: adding 8 - 1 - limit (or 128 - 1 - limit) carries into its top
// bit.
constexpr bool any_nibble_above(uint64_t counts, int limit) {
  return ((counts + 0x1111111111111111u * uint64_t(7 - limit)) & 0x8888888888888888u) != 0;
}
constexpr bool any_byte_above(uint64_t counts, int limit) {
  return ((counts + 0x0101010101010101u * uint64_t(127 - limit)) & 0x8080808080808080u) != 0;
}

// Which of kNmCandidates still hold.
using HeldPatterns = std::array<bool, kNmCandidates.size()>;

HeldPatterns patterns_that_divide(Index cols) {
  HeldPatterns holds;
  for (size_t c = 0; c < holds.size(); ++c) holds[c] = cols % kNmCandidates[c].group == 0;
  return holds;
}

std::optional<NM> sparsest(const HeldPatterns& holds) {
  const auto first = std::ranges::find(holds, true);
  if (first == holds.end()) return std::nullopt;
  return kNmCandidates[size_t(first - holds.begin())];
}

// Drops the candidates that the bits of a row break.
void check_groups(std::span<const uint64_t> bits, HeldPatterns& holds) {
  for (const uint64_t word : bits) {
    const uint64_t nibbles = nibble_counts(word);
    const uint64_t bytes = byte_counts(word);
    for (size_t c = 0; c < kNmCandidates.size(); ++c) {
      const auto [keep, group] = kNmCandidates[c];
      if (group == 4 ? any_nibble_above(nibbles, keep) : any_byte_above(bytes, keep)) holds[c] = false;
    }
  }
}

// Ors `count` rows of bits into one.
std::vector<uint64_t> any_of_rows(const Mask& mask, Index top, Index count) {
  std::vector<uint64_t> any(mask.row(top).begin(), mask.row(top).end());
  for (Index r = 1; r < count; ++r) {
    const auto row = mask.row(top + r);
    for (size_t w = 0; w < any.size(); ++w) any[w] |= row[w];
  }
  return any;
}

int64_t count_blocks(const Mask& stored, Block block) {
  int64_t count = 0;
  Mask any(1, stored.cols());
  for (Index top = 0; top < stored.rows(); top += block.rows) {
    std::ranges::copy(any_of_rows(stored, top, block.rows), any.row(0).begin());
    for (Index left = 0; left < stored.cols(); left += block.cols) {
      count += any.count_in_row(0, left, left + block.cols) > 0;
    }
  }
  return count;
}

}  // namespace

Pattern SparsityProfile::likely_pattern() const {
  if (zeros == 0) return Unstructured{};
  for (const auto& [block, count] : blocks) {
    const int64_t area = int64_t(block.rows) * block.cols;
    if (!has_negative_zeros() && area > 1 && count * area == stored) return block;
  }
  if (nm) return *nm;
  return Unstructured{};
}

template <class T>
SparsityProfile profile(ConstView<T> weights, std::span<const Block> block_sizes) {
  SparsityProfile result;
  result.out = weights.rows();
  result.in = weights.cols();
  HeldPatterns nonzero_holds = patterns_that_divide(weights.cols());
  HeldPatterns stored_holds = nonzero_holds;
  Mask stored(weights.rows(), weights.cols());
  Mask nonzero(1, weights.cols());
  for (Index i = 0; i < weights.rows(); ++i) {
    const T* row = weights.data() + i * weights.outerStride();
    const auto stored_words = stored.row(i);
    const auto nonzero_words = nonzero.row(0);
    std::ranges::fill(nonzero_words, 0);
    for (Index j = 0; j < weights.cols(); ++j) {
      const auto magnitude = magnitude_key(row[j]);
      stored_words[size_t(j / 64)] |= uint64_t(bit_pattern(row[j]) != 0) << (j % 64);
      nonzero_words[size_t(j / 64)] |= uint64_t(magnitude != 0) << (j % 64);
      result.nans += magnitude > FloatBits<T>::kInfinityKey;
    }
    result.zeros += weights.cols() - nonzero.count_in_row(0);
    check_groups(nonzero_words, nonzero_holds);
    check_groups(stored_words, stored_holds);
  }
  for (Index i = 0; i < weights.rows(); ++i) {
    for (const uint64_t word : stored.row(i)) {
      ++result.windows_with[size_t(std::popcount(uint32_t(word)))];
      ++result.windows_with[size_t(std::popcount(uint32_t(word >> 32)))];
    }
  }
  result.stored = stored.count();
  result.nm = sparsest(nonzero_holds);
  result.stored_nm = sparsest(stored_holds);
  for (const Block block : block_sizes) {
    if (!misfit(block, result.out, result.in)) result.blocks.emplace_back(block, count_blocks(stored, block));
  }
  return result;
}

template SparsityProfile profile(ConstView<double>, std::span<const Block>);
template SparsityProfile profile(ConstView<float>, std::span<const Block>);
template SparsityProfile profile(ConstView<f16>, std::span<const Block>);
template SparsityProfile profile(ConstView<bf16>, std::span<const Block>);
template SparsityProfile profile(ConstView<f8_e4m3>, std::span<const Block>);
template SparsityProfile profile(ConstView<f8_e5m2>, std::span<const Block>);

}  // namespace prune
