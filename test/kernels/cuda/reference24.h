// y = x W^T in double precision, over the kept weights only, and how far a result may be from it.
#pragma once

#include <algorithm>

#include "test/kernels/cuda/matrix24.h"

namespace prune::test {

struct Expected {
  std::vector<double> sum;        // [tokens, rows]
  std::vector<double> magnitude;  // sum of |a * b|
};

inline constexpr int kTogether = 8;

// x in double precision, kTogether tokens of a column side by side: [tokens / kTogether][cols][kTogether],
// with zeros past the last token. References spend their time on it, most of a test's.
template <class T>
std::vector<double> columns_of(const std::vector<Bits<T>>& x, int stride, int cols, int tokens) {
  const int blocks = (tokens + kTogether - 1) / kTogether;
  std::vector<double> columns(size_t(blocks) * cols * kTogether);
#pragma omp parallel for
  for (int b = 0; b < blocks; ++b) {
    for (int n = b * kTogether; n < std::min(tokens, (b + 1) * kTogether); ++n) {
      double* to = &columns[size_t(b) * cols * kTogether + n % kTogether];
      for (int k = 0; k < cols; ++k) to[size_t(k) * kTogether] = to_double<T>(x[size_t(n) * stride + k]);
    }
  }
  return columns;
}

// One weight that is multiplied.
struct Kept {
  double weight;
  int column;
};

// Sums of a row with kTogether tokens from `first` on, of which `columns` is.
inline void add_row(const std::vector<Kept>& row, const double* columns, int r, int rows, int first,
                    int tokens, Expected& e) {
  double sum[kTogether] = {}, magnitude[kTogether] = {};
  for (const Kept& kept : row) {
    const double* column = columns + kept.column * kTogether;
#pragma omp simd
    for (int n = 0; n < kTogether; ++n) {
      const double product = kept.weight * column[n];
      sum[n] += product;
      magnitude[n] += std::fabs(product);
    }
  }
  for (int n = first; n < std::min(tokens, first + kTogether); ++n) {
    e.sum[size_t(n) * rows + r] = sum[n - first];
    e.magnitude[size_t(n) * rows + r] = magnitude[n - first];
  }
}

template <class T>
Expected reference(const HostMatrix24& m, const std::vector<Bits<T>>& x, int stride, int tokens) {
  const std::vector<double> columns = columns_of<T>(x, stride, m.cols, tokens);
  Expected e{std::vector<double>(size_t(tokens) * m.rows), std::vector<double>(size_t(tokens) * m.rows)};
#pragma omp parallel for
  for (int r = 0; r < m.rows; ++r) {
    std::vector<Kept> row;
    for (int g = 0; g < m.cols / 4; ++g) {
      const uint8_t nibble = m.nibble(r, g);
      row.push_back({m.value<T>(r, g, 0), 4 * g + (nibble & 3)});
      row.push_back({m.value<T>(r, g, 1), 4 * g + (nibble >> 2)});
    }
    for (int n = 0; n < tokens; n += kTogether)
      add_row(row, &columns[size_t(n) * m.cols], r, m.rows, n, tokens, e);
  }
  return e;
}

template <class T>
std::vector<Bits<T>> random_integers(size_t size, Random& random) {
  std::vector<Bits<T>> values(size);
  for (Bits<T>& bits : values) bits = Bits<T>(random.bits());
  return values;
}

// x with NaN between the rows, which must not be read; and, on demand, NaN, infinity and -0 among the values.
// int8 has none of these.
template <class T>
std::vector<Bits<T>> random_x(int tokens, int cols, int stride, bool special, Random& random) {
  if (std::is_integral_v<T>) return random_integers<T>(size_t(tokens) * stride, random);
  std::vector<Bits<T>> x(size_t(tokens) * stride, bits_of(from_double<T>(NAN)));
  for (int n = 0; n < tokens; ++n) {
    for (int k = 0; k < cols; ++k) x[size_t(n) * stride + k] = bits_of(from_double<T>(random.uniform()));
  }
  if (special) {
    x[random.below(cols)] = bits_of(from_double<T>(NAN));
    x[size_t(tokens - 1) * stride + random.below(cols)] = bits_of(from_double<T>(INFINITY));
    x[size_t(tokens / 2) * stride + random.below(cols)] = bits_of(from_double<T>(-0.0));
  }
  return x;
}

inline constexpr uint16_t kUntouched = 0xa5a5;  // what y holds before, and between its rows after

// A share of the sum of magnitudes that a result may be off: what rounding to T costs.
template <class T>
constexpr double kTolerance = __is_same(T, __half) ? 1.0 / 1024 : 1.0 / 256;

// Outputs that are off by more than `tolerance` of the sum of magnitudes, not NaN or infinite where they
// should be, or written between the rows. *where tells of the first few.
template <class T>
int count_wrong(const std::vector<Bits<T>>& y, int stride, const Expected& expected, int rows, int tokens,
                std::string* where = nullptr, double tolerance = kTolerance<T>) {
  Bits<T> untouched;
  __builtin_memset(&untouched, kUntouched & 0xff, sizeof untouched);
  int wrong = 0;
#pragma omp parallel for reduction(+ : wrong)
  for (int n = 0; n < tokens; ++n) {
    for (int r = 0; r < stride; ++r) {
      const Bits<T> bits = y[size_t(n) * stride + r];
      if (r >= rows) {
        wrong += bits != untouched;
        continue;
      }
      const double value = to_double<T>(bits), want = expected.sum[size_t(n) * rows + r];
      const bool good = std::isfinite(want) ? std::fabs(value - want) <=
                                                  tolerance * expected.magnitude[size_t(n) * rows + r] + 1e-7
                        : std::isnan(want) ? std::isnan(value)
                                           : value == want;
      if (good) continue;
      ++wrong;
#pragma omp critical
      if (where && where->size() < 400)
        *where += " [token " + std::to_string(n) + " row " + std::to_string(r) + ": " +
                  std::to_string(value) + ", not " + std::to_string(want) + "]";
    }
  }
  return wrong;
}

}  // namespace prune::test
