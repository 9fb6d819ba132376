// Which zeros a weight matrix has, and which patterns and formats they fit.
#pragma once

#include <array>
#include <optional>
#include <utility>
#include <vector>

#include <prune/pattern.h>

namespace prune {

struct SparsityProfile {
  Index out = 0;
  Index in = 0;
  int64_t zeros = 0;   // -0 counted
  int64_t stored = 0;  // weights that are not +0: what lossless formats hold
  int64_t nans = 0;
  std::optional<NM> nm;         // the sparsest of kNmCandidates that every group keeps to
  std::optional<NM> stored_nm;  // the same where -0 counts as a weight: what packs without losing a sign
  std::vector<std::pair<Block, int64_t>>
      blocks;  // for each size that divides the shape: blocks that are not all +0

  std::array<int64_t, 33> windows_with = {};  // runs of 32 columns of a row with so many that are stored

  bool has_negative_zeros() const { return zeros != int64_t(out) * in - stored; }
  double sparsity() const { return out * in == 0 ? 0.0 : double(zeros) / (double(out) * double(in)); }
  // The pattern that explains the zeros best, for people: the largest block size that leaves no stray zeros
  // (every block is all +0 or full), else N:M where one holds, else unstructured.
  Pattern likely_pattern() const;
};

// Sparsest first.
inline constexpr std::array kNmCandidates = {NM{1, 8}, NM{1, 4}, NM{2, 8}, NM{2, 4}, NM{4, 8}};
inline constexpr std::array kBlockCandidates = {Block{64, 64}, Block{32, 32}, Block{16, 16}, Block{8, 8},
                                                Block{4, 4},   Block{1, 16},  Block{16, 1},  Block{4, 1}};

// Reads W [out, in] once and counts blocks of the sizes given. T: the types that can be pruned.
template <class T>
SparsityProfile profile(ConstView<T> weights, std::span<const Block> block_sizes = kBlockCandidates);

}  // namespace prune
