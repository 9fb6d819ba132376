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

// Selection by costs, all of them numbers, on all threads.
class CostSelection {
  static constexpr Index kRows = 128;  // of a part of the work, which is the same with any number of threads
  static constexpr Index kKeys = 128;  // that are made at a time
  static constexpr int kDigitBits = 11;  // a histogram of the first digit stays in the first cache
  using Histogram = std::array<int32_t, size_t(1) << kDigitBits>;

 public:
  explicit CostSelection(const Matrix<float>& cost) : cost_(cost) {}

  // The `keep` dearest stay; of equal ones the first in row-major order.
  Mask keep_dearest(int64_t keep) const {
    Mask mask(cost_.rows(), cost_.cols());
    if (keep == 0) return mask;
    std::vector<int32_t> near = keys_near_threshold(keep);
    Threshold<int32_t> threshold = threshold_of(near.data(), Index(near.size()), keep);
    if (std::count(near.begin(), near.end(), threshold.key) == threshold.ties) {
      const Threshold<int32_t> from_there_on{threshold.key - 1, 0};
      for_each_part([&](Index, Index begin, Index end) {
        Threshold<int32_t> own = from_there_on;
        for (Index i = begin; i < end; ++i) select_row(i, own, mask);
      });
    } else {  // first come, first served
      for (Index i = 0; i < cost_.rows(); ++i) select_row(i, threshold, mask);
    }
    return mask;
  }

 private:
  Index parts() const { return (cost_.rows() + kRows - 1) / kRows; }

  // body(part, begin, end) for rows [begin, end).
  template <class Body>
  void for_each_part(const Body& body) const {
#ifdef _OPENMP
#pragma omp parallel for schedule(static)
#endif
    for (Index part = 0; part < parts(); ++part)
      body(part, part * kRows, std::min((part + 1) * kRows, cost_.rows()));
  }

  // body(keys, first column, how many) for some columns of row i at a time.
  template <class Body>
  void for_keys(Index i, const Body& body) const {
    std::array<int32_t, kKeys> keys;
    const float* row = cost_.data() + i * cost_.cols();
    for (Index first = 0; first < cost_.cols(); first += kKeys) {
      const Index count = std::min(kKeys, cost_.cols() - first);
      for (Index j = 0; j < count; ++j) keys[size_t(j)] = order_key(row[first + j]);
      body(keys.data(), first, count);
    }
  }

  void select_row(Index i, Threshold<int32_t>& threshold, Mask& mask) const {
    for_keys(i, [&](const int32_t* keys, Index first, Index count) {
      select_above(keys, count, threshold, mask.row(i).data() + first / 64);
    });
  }

  // The digit that orders first; from 0 up, as the keys do.
  static size_t digit(int32_t key) { return (uint32_t(key) ^ 0x80000000u) >> (32 - kDigitBits); }

  // All keys that share the first digit of the one sought, a few in a hundred; `keep` becomes its rank there.
  std::vector<int32_t> keys_near_threshold(int64_t& keep) const {
    std::vector<Histogram> counts(static_cast<size_t>(parts()));
    for_each_part([&](Index part, Index begin, Index end) {
      Histogram& count = counts[size_t(part)];
      for (Index i = begin; i < end; ++i) {
        for_keys(i, [&](const int32_t* keys, Index, Index n) {
          for (Index j = 0; j < n; ++j) ++count[digit(keys[j])];
        });
      }
    });
    const auto in_bin = [&](size_t bin) {
      int64_t sum = 0;
      for (const Histogram& count : counts) sum += count[bin];
      return sum;
    };
    size_t bin = (size_t(1) << kDigitBits) - 1;
    for (int64_t n; bin > 0 && (n = in_bin(bin)) < keep; --bin) keep -= n;
    return keys_in(bin, counts);
  }

  std::vector<int32_t> keys_in(size_t bin, const std::vector<Histogram>& counts) const {
    std::vector<size_t> starts{0};
    for (const Histogram& count : counts) starts.push_back(starts.back() + size_t(count[bin]));
    std::vector<int32_t> found(starts.back());
    for_each_part([&](Index part, Index begin, Index end) {
      std::vector<int32_t> own;
      own.resize(size_t(counts[size_t(part)][bin]) + 1);  // one to write over
      size_t n = 0;
      for (Index i = begin; i < end; ++i) {
        for_keys(i, [&](const int32_t* keys, Index, Index count) {
          for (Index j = 0; j < count; ++j) {
            own[n] = keys[j];  // no branch: it would be mispredicted
            n += digit(keys[j]) == bin;
          }
        });
      }
      std::copy(own.begin(), own.end() - 1, found.begin() + std::ptrdiff_t(starts[size_t(part)]));
    });
    return found;
  }

  const Matrix<float>& cost_;
};

}  // namespace prune::update::detail
