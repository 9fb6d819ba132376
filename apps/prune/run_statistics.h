// What repeated measurements say, by ranks alone: no shape of the noise is assumed.
#pragma once

#include <limits>
#include <vector>

namespace prune::app {

// The median of values in any order (of an even number: the mean of the middle two); they must not be empty.
double median(std::vector<double> values);

// The median with an interval that holds the true one. Between the k-th smallest and the k-th largest of n
// values lies the true median with probability 1 - 2 P(Binomial(n, 1/2) < k); k is the largest that gives at
// least 95%. Below six values no k does: the interval is all that was seen, and `confidence` says how little
// that is. (H. A. David, H. N. Nagaraja, Order Statistics, 7.1.)
struct MedianInterval {
  double median = 0;
  double low = 0;
  double high = 0;
  double confidence = 0;
};
MedianInterval median_interval(std::vector<double> values);

// Two samples where more is better, compared by the rank-sum test. (H. B. Mann, D. R. Whitney, 1947; J. L.
// Hodges, E. L. Lehmann, 1963.)
struct RankComparison {
  double ratio = 1;  // the median of new / old over all pairs
  // The ratios that the test does not reject at 99%; 0 and infinity where there are too few values.
  double low = 0;
  double high = std::numeric_limits<double>::infinity();
  // Probability of ranks as low (as high) as these, where both samples come from one distribution. Exact up
  // to kExactRanks values a side, beyond by the normal approximation. A tie counts against a difference.
  double p_lower = 1;
  double p_higher = 1;
};
inline constexpr int kExactRanks = 25;
// Values must be above 0, neither sample empty.
RankComparison compare_ranks(const std::vector<double>& before, const std::vector<double>& after);

// The smallest p that n values against m can give: 1 / binomial(n + m, n).
double least_p(int n, int m);

// Adjusts p values of several tests so that the probability of any false alarm among all of them is the level
// that one is compared with. (S. Holm, 1979.)
std::vector<double> holm(const std::vector<double>& p);

}  // namespace prune::app
