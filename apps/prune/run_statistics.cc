#include "apps/prune/run_statistics.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace prune::app {
namespace {

constexpr double kMedianConfidence = 0.95;
constexpr double kRatioConfidence = 0.99;

double middle(const std::vector<double>& sorted) {
  const size_t half = sorted.size() / 2;
  return sorted.size() % 2 == 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

// Distribution of the number of pairs in which the new value is the larger, when n new and m old values come
// from one distribution: P(n, m, u) = n / (n + m) P(n - 1, m, u - m) + m / (n + m) P(n, m - 1, u), by whose
// the largest value of all is.
std::vector<double> exact_distribution(int n, int m) {
  std::vector<std::vector<double>> row(size_t(m) + 1, {1.0});  // of no new values
  for (int i = 1; i <= n; ++i) {
    row[0] = {1.0};
    for (int j = 1; j <= m; ++j) {
      std::vector<double> next(size_t(i * j) + 1, 0.0);
      const std::vector<double>& without_new = row[size_t(j)];  // still of i - 1
      const std::vector<double>& without_old = row[size_t(j) - 1];
      for (size_t u = 0; u < without_new.size(); ++u) next[u + size_t(j)] += without_new[u] * i / (i + j);
      for (size_t u = 0; u < without_old.size(); ++u) next[u] += without_old[u] * j / (i + j);
      row[size_t(j)] = std::move(next);
    }
  }
  return row[size_t(m)];
}

// P(at most u of the pairs are won).
class RankSum {
 public:
  RankSum(int n, int m) : n_(n), m_(m) {
    if (n > kExactRanks || m > kExactRanks) return;
    cumulative_ = exact_distribution(n, m);
    std::partial_sum(cumulative_.begin(), cumulative_.end(), cumulative_.begin());
  }

  double at_most(double u) const {
    if (u < 0) return 0;
    if (!cumulative_.empty()) return std::min(1.0, cumulative_[std::min(size_t(u), cumulative_.size() - 1)]);
    const double pairs = double(n_) * m_;
    const double deviation = std::sqrt(pairs * (n_ + m_ + 1) / 12);
    return 0.5 * std::erfc(-(u + 0.5 - pairs / 2) / deviation / std::sqrt(2.0));
  }

  // The largest u with at_most(u) <= p; -1 where there is none.
  int64_t quantile(double p) const {
    int64_t low = -1, high = int64_t(n_) * m_;  // at_most(low) <= p < at_most(high)
    while (high - low > 1) {
      const int64_t between = (low + high) / 2;
      (at_most(double(between)) <= p ? low : high) = between;
    }
    return low;
  }

 private:
  int n_, m_;
  std::vector<double> cumulative_;
};

}  // namespace

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return middle(values);
}

MedianInterval median_interval(std::vector<double> values) {
  std::ranges::sort(values);
  const int n = int(values.size());
  const auto probability = [n](int i) {  // that i of n lie below the median
    return std::exp(std::lgamma(n + 1) - std::lgamma(i + 1) - std::lgamma(n - i + 1) - n * std::log(2));
  };
  int k = 0;
  double tail = probability(0);  // P(Binomial(n, 1/2) <= k)
  while (k + 1 < (n + 1) / 2 && 1 - 2 * (tail + probability(k + 1)) >= kMedianConfidence) {
    tail += probability(++k);
  }
  return {middle(values), values[size_t(k)], values[size_t(n - 1 - k)], std::max(0.0, 1 - 2 * tail)};
}

RankComparison compare_ranks(const std::vector<double>& before, const std::vector<double>& after) {
  std::vector<double> ratios;
  ratios.reserve(before.size() * after.size());
  for (const double old_value : before) {
    for (const double new_value : after) ratios.push_back(new_value / old_value);
  }
  std::ranges::sort(ratios);
  const auto lower = std::ranges::lower_bound(ratios, 1.0) - ratios.begin();
  const auto not_higher = std::ranges::upper_bound(ratios, 1.0) - ratios.begin();
  const auto pairs = int64_t(ratios.size());
  const RankSum ranks(int(after.size()), int(before.size()));
  RankComparison result;
  result.ratio = middle(ratios);
  result.p_lower = ranks.at_most(double(pairs - lower));
  result.p_higher = ranks.at_most(double(not_higher));
  if (const int64_t k = ranks.quantile((1 - kRatioConfidence) / 2); k >= 0) {
    result.low = ratios[size_t(k)];
    result.high = ratios[size_t(pairs - 1 - k)];
  }
  return result;
}

double least_p(int n, int m) {
  return std::exp(std::lgamma(n + 1) + std::lgamma(m + 1) - std::lgamma(n + m + 1));
}

std::vector<double> holm(const std::vector<double>& p) {
  std::vector<size_t> order(p.size());
  std::iota(order.begin(), order.end(), size_t(0));
  std::ranges::sort(order, {}, [&](size_t i) { return p[i]; });
  std::vector<double> adjusted(p.size());
  double highest = 0;
  for (size_t rank = 0; rank < order.size(); ++rank) {
    highest = std::max(highest, std::min(1.0, double(p.size() - rank) * p[order[rank]]));
    adjusted[order[rank]] = highest;
  }
  return adjusted;
}

}  // namespace prune::app
