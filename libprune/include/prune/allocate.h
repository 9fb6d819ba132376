// How the sparsity of a model is shared out over its matrices, or its layers, when some can spare more than
// others.
//
// All take the number of candidates of each matrix (weights; blocks, where blocks go) and the sparsity of all
// together, and return one sparsity a matrix, for select() with Scope::kLayer. The total is exact: of n
// candidates in all, n - floor(n * sparsity) stay, and at least one of each matrix that has any.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <string>
#include <vector>

#include <prune/error.h>
#include <prune/finite.h>
#include <prune/matrix.h>
#include <prune/select.h>

namespace prune::allocate {

// What pruning a matrix to a sparsity costs: any error that adds up over matrices.
struct ErrorAt {
  double sparsity = 0;
  double error = 0;
};

namespace detail {

using namespace prune::detail;

// The candidates that go in all. Throws for a sparsity outside [0, 1), and where each matrix can't keep one.
inline int64_t pruned_of_all(const std::vector<int64_t>& sizes, double sparsity) {
  resolve_sparsity(Unstructured{}, sparsity);
  int64_t all = 0;
  int64_t most = 0;
  for (const int64_t size : sizes) {
    if (size < 0) throw_usage("allocation: a matrix of " + std::to_string(size) + " weights");
    all += size;
    most += std::max<int64_t>(size - 1, 0);
  }
  const int64_t pruned = all - kept_count(all, sparsity);
  if (pruned > most) {
    throw_usage("allocation: sparsity " + short_number(sparsity) + " leaves fewer weights than matrices");
  }
  return pruned;
}

// The sparsity s with floor(size * s) = pruned in doubles, as select() counts.
inline double sparsity_of(int64_t pruned, int64_t size) {
  if (pruned == 0) return 0;
  double sparsity = double(pruned) / double(size);
  while (size - kept_count(size, sparsity) < pruned) sparsity = std::nextafter(sparsity, 1.0);
  return sparsity;
}

inline std::vector<double> sparsities_of(const std::vector<int64_t>& pruned,
                                         const std::vector<int64_t>& sizes) {
  std::vector<double> sparsities;
  for (size_t i = 0; i < sizes.size(); ++i) sparsities.push_back(sparsity_of(pruned[i], sizes[i]));
  return sparsities;
}

// Whole numbers near `wanted` that add up to `total`, each at most its `most`: rounded down, and one more for
// the largest remainders, of equal ones the first.
inline std::vector<int64_t> round_to_total(const std::vector<double>& wanted,
                                           const std::vector<int64_t>& most, int64_t total) {
  std::vector<int64_t> counts;
  std::vector<size_t> order(wanted.size());
  std::iota(order.begin(), order.end(), size_t(0));
  for (size_t i = 0; i < wanted.size(); ++i) {
    counts.push_back(std::clamp(int64_t(std::floor(wanted[i])), int64_t(0), most[i]));
    total -= counts[i];
  }
  std::ranges::stable_sort(order, [&](size_t a, size_t b) {
    return wanted[a] - double(counts[a]) > wanted[b] - double(counts[b]);
  });
  for (const int step : {1, -1}) {  // down only where rounding errors of the wanted sum call for it
    while (total * step > 0) {
      const int64_t before = total;
      for (const size_t i : order) {
        const int64_t next = counts[i] + step;
        if (total * step <= 0 || next < 0 || next > most[i]) continue;
        counts[i] = next;
        total -= step;
      }
      if (total == before) break;
    }
  }
  return counts;
}

// Sparsities as near to `wanted` as the total allows: all are moved by the same amount, and stop at 0 and at
// all but one candidate.
inline std::vector<double> move_to_total(const std::vector<int64_t>& sizes, const std::vector<double>& wanted,
                                         double sparsity) {
  const int64_t total = pruned_of_all(sizes, sparsity);
  std::vector<int64_t> most;
  most.reserve(sizes.size());
  for (const int64_t size : sizes) most.push_back(std::max<int64_t>(size - 1, 0));
  std::vector<double> pruned(sizes.size());
  const auto sum_moved_by = [&](double move) {
    double sum = 0;
    for (size_t i = 0; i < sizes.size(); ++i) {
      pruned[i] = std::clamp((wanted[i] + move) * double(sizes[i]), 0.0, double(most[i]));
      sum += pruned[i];
    }
    return sum;
  };
  double low = -2;
  double high = 2;
  for (int step = 0; step < 100; ++step) {
    const double middle = (low + high) / 2;
    (sum_moved_by(middle) < double(total) ? low : high) = middle;
  }
  sum_moved_by(high);
  return sparsities_of(round_to_total(pruned, most, total), sizes);
}

// A stretch of a matrix's curve along which one more candidate costs `slope`.
struct Stretch {
  double slope;
  size_t matrix;
  int64_t candidates;
};

// The lower convex hull of (0, 0) and the points measured, as stretches: slopes that rise. A point above it
// is never the best way to spend an error, since its neighbours are cheaper together.
inline void add_stretches(const std::vector<ErrorAt>& curve, size_t matrix, int64_t size,
                          std::vector<Stretch>& stretches) {
  struct Point {
    int64_t pruned;
    double error;
  };
  std::vector<Point> hull = {{0, 0.0}};
  const auto slope = [](const Point& a, const Point& b) {
    return (b.error - a.error) / double(b.pruned - a.pruned);
  };
  double before = 0;
  for (const ErrorAt& at : curve) {
    if (!(at.sparsity >= before && at.sparsity < 1 && at.error >= 0 && std::isfinite(at.error))) {
      throw_usage("allocation: the errors of matrix " + std::to_string(matrix) +
                  " must be finite, not negative, and at sparsities that rise within [0, 1)");
    }
    before = at.sparsity;
    const Point next{size - kept_count(size, at.sparsity), at.error};
    if (next.pruned == hull.back().pruned) continue;
    while (hull.size() > 1 && slope(hull[hull.size() - 2], hull.back()) >= slope(hull.back(), next)) {
      hull.pop_back();
    }
    hull.push_back(next);
  }
  for (size_t i = 1; i < hull.size(); ++i) {
    stretches.push_back({slope(hull[i - 1], hull[i]), matrix, hull[i].pruned - hull[i - 1].pruned});
  }
}

}  // namespace detail

// The same sparsity everywhere, as far as whole candidates allow. Throws Error(kUsage) for a sparsity outside
// [0, 1), and one that would leave a matrix empty; so do the others.
inline std::vector<double> uniform(const std::vector<int64_t>& sizes, double sparsity) {
  return detail::move_to_total(sizes, std::vector<double>(sizes.size(), sparsity), sparsity);
}

// The share of scores above `times` their mean, over all matrices of a layer: its outliers. Of an empty layer
// 0. Scores as of score::wanda(); Error(kInput) for NaN and infinity.
inline double outlier_share(const std::vector<ConstView<float>>& scores, double times = 5) {
  double sum = 0;
  Index count = 0;
  for (const auto& matrix : scores) {
    detail::require_finite(matrix, "scores");
    sum += matrix.cast<double>().sum();
    count += matrix.size();
  }
  Index above = 0;
  for (const auto& matrix : scores) {
    above += (matrix.cast<double>().array() * double(count) > times * sum).count();
  }
  return count == 0 ? 0 : double(above) / double(count);
}

// OWL: layers with more outliers keep more. With r the outlier shares of all layers, stretched to [0, 2
// lambda],
//
//   s_l = sparsity - (r_l - mean of r),
//
// the mean weighted by size, and all moved alike where a layer would leave [0, 1): the paper's, whose layers
// are of one size. Its layers are decoder layers, all matrices of one pruned alike. Yin et al., "Outlier
// Weighed Layerwise Sparsity (OWL)", arXiv 2310.05175. Throws as uniform(); Error(kUsage) for another number
// of shares, or where lambda is not in [0, 1/2] or a share not in [0, 1].
inline std::vector<double> owl(const std::vector<int64_t>& sizes, const std::vector<double>& outlier_shares,
                               double sparsity, double lambda = 0.08) {
  if (outlier_shares.size() != sizes.size()) throw_usage("OWL: expected one outlier share for each layer");
  if (!(lambda >= 0 && lambda <= 0.5)) throw_usage("OWL: expected lambda from 0 to 0.5");
  if (!std::ranges::all_of(outlier_shares, [](double r) { return r >= 0 && r <= 1; })) {
    throw_usage("OWL: an outlier share that is not within [0, 1]");
  }
  if (sizes.empty()) return {};
  const auto [least, most] = std::ranges::minmax(outlier_shares);
  std::vector<double> wanted;
  wanted.reserve(outlier_shares.size());
  for (const double r : outlier_shares) {
    wanted.push_back(sparsity - (most > least ? (r - least) / (most - least) * 2 * lambda : 0));
  }
  return detail::move_to_total(sizes, wanted, sparsity);
}

// The sparsities with the least sum of errors, from the errors of each matrix measured at a few sparsities,
// in rising order; at 0 it is taken for 0. Between points an error lies on a line, and a point above the line
// of its neighbours is passed over. At the minimum one more weight costs the same everywhere: stretches of
// the curves are taken from the flattest on until the total is reached, exactly optimal for such curves;
// where several equally steep ones are left over, each gives the same share. No matrix goes beyond its last
// point. Throws as uniform(); Error(kUsage) for curves that are none, or that end before the total.
inline std::vector<double> by_error(const std::vector<int64_t>& sizes,
                                    const std::vector<std::vector<ErrorAt>>& curves, double sparsity) {
  if (curves.size() != sizes.size()) throw_usage("allocation: expected the errors of each matrix");
  int64_t left = detail::pruned_of_all(sizes, sparsity);
  std::vector<detail::Stretch> stretches;
  for (size_t i = 0; i < sizes.size(); ++i) detail::add_stretches(curves[i], i, sizes[i], stretches);
  std::ranges::stable_sort(stretches, {}, &detail::Stretch::slope);
  std::vector<int64_t> pruned(sizes.size());
  for (size_t begin = 0; begin < stretches.size() && left > 0;) {
    size_t end = begin;
    std::vector<int64_t> each;
    for (; end < stretches.size() && stretches[end].slope == stretches[begin].slope; ++end) {
      each.push_back(stretches[end].candidates);
    }
    const int64_t all = std::accumulate(each.begin(), each.end(), int64_t(0));
    std::vector<double> share;
    share.reserve(each.size());
    for (const int64_t candidates : each) {
      share.push_back(double(candidates) * std::min(1.0, double(left) / double(all)));
    }
    const int64_t taken = std::min(left, all);
    const std::vector<int64_t> counts = detail::round_to_total(share, each, taken);
    for (size_t i = begin; i < end; ++i) pruned[stretches[i].matrix] += counts[i - begin];
    left -= taken;
    begin = end;
  }
  if (left > 0) throw_usage("allocation: the errors end before sparsity " + detail::short_number(sparsity));
  return detail::sparsities_of(pruned, sizes);
}

}  // namespace prune::allocate
