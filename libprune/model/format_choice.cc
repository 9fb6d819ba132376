#include "libprune/model/format_choice.h"

#include <algorithm>
#include <vector>

#include <prune/error.h>

namespace prune {
namespace {

// The candidates of one format, in order of preference where bytes are equal.
void add_candidates(const PackedWeight& base, const SparsityProfile& zeros, PackedFormat format,
                    const std::optional<Pattern>& pattern, std::vector<FormatChoice>& candidates) {
  PackedWeight weight = base;
  weight.format = format;
  if (format == PackedFormat::kBitmask || format == PackedFormat::kCsr) {
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
  for (const auto format :
       {PackedFormat::kNm, PackedFormat::kBsr, PackedFormat::kBitmask, PackedFormat::kCsr}) {
    if (!request.format || request.format == format)
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
