// The packed format that holds a weight in the fewest bytes.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "libprune/model/packed_checkpoint.h"
#include "libprune/model/sparsity_profile.h"

namespace prune {

// What is asked of every weight: nothing, or a format, or a format (nm, bsr) and its pattern.
struct FormatRequest {
  std::optional<PackedFormat> format = {};
  std::optional<Pattern> pattern = {};

  // Throws Error(kUsage) for a pattern that is none or not its format's.
  void require_valid() const;
  // The block sizes to count zeros in: the one that is asked for, or the usual ones.
  std::span<const Block> block_candidates() const;
};

struct FormatChoice {
  PackedWeight weight;
  int64_t stored = 0;  // values, or blocks
  uint64_t bytes() const { return packed_bytes(weight, stored); }
};

// The forms that hold a weight with these zeros, in the order nm, bsr, bitmask, csr, windows.
std::vector<FormatChoice> formats_that_hold(const PackedWeight& base, const SparsityProfile& zeros,
                                            const FormatRequest& request);

// The smallest form of a weight with these zeros; of equals the first of nm, bsr, bitmask, csr, windows.
// `base` has the weight's name, type, shape, orientation and shard. Nothing when the format asked for can't
// take it.
std::optional<FormatChoice> choose_format(const PackedWeight& base, const SparsityProfile& zeros,
                                          const FormatRequest& request);

}  // namespace prune
