#include "libprune/model/format_choice.h"

#include <algorithm>
#include <limits>
#include <vector>

#include <prune/error.h>

#include "kernels/sparse/weights.h"

namespace prune {
namespace {

// Windows are for weights of which little stays; where more does, a bitmask is smaller and as fast.
bool suits_windows(const SparsityProfile& zeros) {
  return zeros.in <= kMostWindowsColumns && 4 * zeros.stored <= int64_t{zeros.out} * zeros.in;
}

// Weights that find no place in their window.
int64_t tail_of(const SparsityProfile& zeros, Index steps) {
  int64_t tail = 0;
  for (Index count = steps + 1; count <= kWindowsColumns; ++count)
    tail += zeros.windows_with[size_t(count)] * (count - steps);
  return tail;
}

int64_t stored_in_windows(const PackedWeight& weight, const SparsityProfile& zeros) {
  const int64_t tail = tail_of(zeros, weight.steps);
  return windows_places(weight.out, weight.in, weight.steps) +
         (tail + kWindowsTailUnit - 1) / kWindowsTailUnit * kWindowsTailUnit;
}

// Those of the fewest bytes, where a weight of the tail counts for what could be read in its time.
Index best_steps(PackedWeight weight, const SparsityProfile& zeros) {
  Index best = 0;
  uint64_t least = std::numeric_limits<uint64_t>::max();
  for (weight.steps = 0; weight.steps <= kWindowsColumns; ++weight.steps) {
    const uint64_t cost = packed_bytes(weight, stored_in_windows(weight, zeros)) +
                          uint64_t(kernels::kTailCost * tail_of(zeros, weight.steps));
    if (cost >= least) continue;
    least = cost;
    best = weight.steps;
  }
  return best;
}

// The candidates of one format, in order of preference where bytes are equal.
void add_candidates(const PackedWeight& base, const SparsityProfile& zeros, PackedFormat format,
                    const std::optional<Pattern>& pattern, std::vector<FormatChoice>& candidates) {
  PackedWeight weight = base;
  weight.format = format;
  if (format == PackedFormat::kWindows) {
    if (weight.in > kMostWindowsColumns) return;
    weight.steps = best_steps(weight, zeros);
    candidates.push_back({weight, stored_in_windows(weight, zeros)});
  } else if (format == PackedFormat::kBitmask || format == PackedFormat::kCsr) {
    candidates.push_back({weight, zeros.stored});
  } else if (format == PackedFormat::kNm) {
    const NM* asked = pattern ? std::get_if<NM>(&*pattern) : nullptr;
    if (!asked && !zeros.nm) return;
    weight.nm = asked ? *asked : zeros.stored_nm ? *zeros.stored_nm : *zeros.nm;
    if (weight.in % weight.nm.group == 0) candidates.push_back({weight, 0});
  } else {
    for (const auto& [block, count] : zeros.blocks) {
      weight.block = block;
      candidates.push_back({weight, count});
    }
  }
}

}  // namespace

void FormatRequest::require_valid() const {
  if (!pattern) return;
  prune::require_valid(*pattern);
  const bool fits = format == PackedFormat::kNm    ? std::holds_alternative<NM>(*pattern)
                    : format == PackedFormat::kBsr ? std::holds_alternative<Block>(*pattern)
                                                   : false;
  if (!fits) throw_usage("pattern " + to_string(*pattern) + " goes with format nm (N:M) or format bsr (RxC)");
}

std::span<const Block> FormatRequest::block_candidates() const {
  const Block* asked = pattern ? std::get_if<Block>(&*pattern) : nullptr;
  return asked ? std::span<const Block>(asked, 1) : std::span<const Block>(kBlockCandidates);
}

std::vector<FormatChoice> formats_that_hold(const PackedWeight& base, const SparsityProfile& zeros,
                                            const FormatRequest& request) {
  std::vector<FormatChoice> candidates;
  for (const auto format : {PackedFormat::kNm, PackedFormat::kBsr, PackedFormat::kBitmask, PackedFormat::kCsr,
                            PackedFormat::kWindows}) {
    const bool may = format != PackedFormat::kWindows || suits_windows(zeros);
    if (request.format ? request.format == format : may)
      add_candidates(base, zeros, format, request.pattern, candidates);
  }
  return candidates;
}

std::optional<FormatChoice> choose_format(const PackedWeight& base, const SparsityProfile& zeros,
                                          const FormatRequest& request) {
  const std::vector<FormatChoice> candidates = formats_that_hold(base, zeros, request);
  const auto best = std::ranges::min_element(candidates, {}, &FormatChoice::bytes);
  return best == candidates.end() ? std::nullopt : std::optional(*best);
}

}  // namespace prune
