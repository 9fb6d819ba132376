// Which weights SparseGPT lets go: how many of each block of columns, and of those the cheapest.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include <prune/select.h>

namespace prune::update::detail {

using namespace prune::detail;

// How many of n candidates stay in each block when `pruned` of all go: those that must go, and the same share
// of the others everywhere, exact in the sum. must_go holds those of each block, sizes its candidates.
inline std::vector<int64_t> share_out(const std::vector<int64_t>& sizes, const std::vector<int64_t>& must_go,
                                      int64_t pruned) {
  int64_t free = 0;
  int64_t more = pruned;
  for (size_t b = 0; b < sizes.size(); ++b) {
    free += sizes[b] - must_go[b];
    more -= must_go[b];
  }
  more = std::max<int64_t>(more, 0);
  std::vector<int64_t> kept;
  int64_t seen = 0;
  int64_t taken = 0;
  for (size_t b = 0; b < sizes.size(); ++b) {
    seen += sizes[b] - must_go[b];
    const int64_t taken_now = free == 0 ? 0 : more * seen / free;
    kept.push_back(sizes[b] - must_go[b] - (taken_now - taken));
    taken = taken_now;
  }
  return kept;
}

// Selection by costs on all threads: numbers from 0 up, or -1.
class CostSelection {
  static constexpr Index kRows = 128;  // of a part of the work, which is the same with any number of threads
  static constexpr size_t kBins = 2048;  // of a histogram that stays in the first cache
  using Histogram = std::array<int32_t, kBins>;

 public:
  explicit CostSelection(const Matrix<float>& cost) : cost_(cost) {}

  // The `keep` dearest stay; of equal ones the first in row-major order.
  Mask keep_dearest(int64_t keep) const {
    Mask mask(cost_.rows(), cost_.cols());
    if (keep == 0) return mask;
    std::vector<float> near = costs_near_threshold(keep);
    Threshold<float> threshold = threshold_of(near.data(), Index(near.size()), keep);
    if (std::count(near.begin(), near.end(), threshold.key) == threshold.ties) {
      for_each_part([&](Index, Index begin, Index end) {
        for (Index i = begin; i < end; ++i) keep_from(i, threshold.key, mask);
      });
    } else {  // first come, first served
      for (Index i = 0; i < cost_.rows(); ++i)
        select_above(row(i), cost_.cols(), threshold, mask.row(i).data());
    }
    return mask;
  }

 private:
  Index parts() const { return (cost_.rows() + kRows - 1) / kRows; }
  const float* row(Index i) const { return cost_.data() + i * cost_.cols(); }

  // body(part, begin, end) for rows [begin, end).
  template <class Body>
  void for_each_part(const Body& body) const {
#ifdef _OPENMP
#pragma omp parallel for schedule(static)
#endif
    for (Index part = 0; part < parts(); ++part)
      body(part, part * kRows, std::min((part + 1) * kRows, cost_.rows()));
  }

  // Row i keeps all that cost `least` or more.
  void keep_from(Index i, float least, Mask& mask) const {
    const float* cost = row(i);
    const int32_t key = bit_pattern(least);  // in the order of the costs, whose negative ones are all equal
    uint64_t* words = mask.row(i).data();
    Index j = 0;
    for (; j + 4 <= cost_.cols(); j += 4) {
      const auto keys = load_lanes<I32x4>(cost + j);
      words[j / 64] |= uint64_t(lane_bits(I32x4(keys >= key))) << (j % 64);
    }
    for (; j < cost_.cols(); ++j) words[j / 64] |= uint64_t(cost[j] >= least) << (j % 64);
  }

  // Ordered as the costs are: exponent and three digits of the mantissa.
  static size_t bin_of(float cost) { return uint32_t(std::max(bit_pattern(cost), 0)) >> 20; }

  // All that share the bin of the one sought, a few in a hundred; `keep` becomes its rank there.
  std::vector<float> costs_near_threshold(int64_t& keep) const {
    std::vector<Histogram> counts(static_cast<size_t>(parts()));
    for_each_part([&](Index part, Index begin, Index end) {
      Histogram& count = counts[size_t(part)];
      for (const float* c = row(begin); c != row(end); ++c) ++count[bin_of(*c)];
    });
    const auto in_bin = [&](size_t bin) {
      int64_t sum = 0;
      for (const Histogram& count : counts) sum += count[bin];
      return sum;
    };
    size_t bin = kBins - 1;
    for (int64_t n; bin > 0 && (n = in_bin(bin)) < keep; --bin) keep -= n;
    return costs_in(bin, counts);
  }

  std::vector<float> costs_in(size_t bin, const std::vector<Histogram>& counts) const {
    std::vector<size_t> starts{0};
    for (const Histogram& count : counts) starts.push_back(starts.back() + size_t(count[bin]));
    std::vector<float> found(starts.back());
    for_each_part([&](Index part, Index begin, Index end) {
      std::vector<float> own;
      own.resize(size_t(counts[size_t(part)][bin]) + 1);  // one to write over
      size_t n = 0;
      for (const float* c = row(begin); c != row(end); ++c) {
        own[n] = *c;  // no branch: it would be mispredicted
        n += bin_of(*c) == bin;
      }
      std::copy(own.begin(), own.end() - 1, found.begin() + std::ptrdiff_t(starts[size_t(part)]));
    });
    return found;
  }

  const Matrix<float>& cost_;
};

}  // namespace prune::update::detail
