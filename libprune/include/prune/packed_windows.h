// Weights of which little stays, in the order in which vectors multiply them: a sliced ELLPACK (Monakov et
// al., HiPEAC 2010) that is cut by columns as well.
//
// Rows are taken sixteen together, columns in pairs of windows of 32. In every window a row has `steps`
// places; what finds none goes to the tail. docs/formats.md has the order with an example.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include <prune/packed.h>

namespace prune {

inline constexpr Index kWindowsRows = 16;
inline constexpr Index kWindowsColumns = 32;
inline constexpr Index kMostWindowsColumns = 65536;  // that 16 bits tell apart
// The tail is filled up to a multiple of this with zeros that no row counts, so that what lies behind it in a
// file is aligned.
inline constexpr Index kWindowsTailUnit = 4;

template <class T>
struct WindowsPacked {
  Index steps = 0;  // 0 to 32
  Index rows = 0;
  Index cols = 0;
  std::vector<T> values;               // [places + tail]
  std::vector<uint8_t> columns;        // [places]: within the window; 0 where the value is +0
  std::vector<uint16_t> tail_columns;  // [tail], row after row, ascending in a row
  std::vector<int32_t> tail_counts;    // [16 * ceil(rows / 16)]
};

// Windows of a row, an even number.
constexpr Index windows_of(Index cols) {
  return (cols + 2 * kWindowsColumns - 1) / (2 * kWindowsColumns) * 2;
}
constexpr Index windows_groups(Index rows) { return (rows + kWindowsRows - 1) / kWindowsRows; }
constexpr int64_t windows_places(Index rows, Index cols, Index steps) {
  return int64_t(windows_groups(rows)) * windows_of(cols) * kWindowsRows * steps;
}
// The place of row `row`'s weight number `step` in window `window`.
constexpr int64_t windows_place(Index row, Index cols, Index steps, Index window, Index step) {
  const int64_t pair = int64_t(row / kWindowsRows) * (windows_of(cols) / 2) + window / 2;
  return ((pair * steps + step) * 2 + window % 2) * kWindowsRows + row % kWindowsRows;
}

// Throws Error(kUsage) for steps that are not 0 to 32, Error(kInput) for more than 65536 columns.
template <RowMajorMatrix M>
WindowsPacked<typename M::Scalar> pack_windows(const M& weights, Index steps) {
  using T = typename M::Scalar;
  const auto w = view(weights);
  if (steps < 0 || steps > kWindowsColumns) throw_usage("windows: expected 0 to 32 steps");
  if (w.cols() > kMostWindowsColumns)
    throw_input(std::to_string(w.cols()) + " columns are more than 16-bit indices can tell apart");
  const int64_t places = windows_places(w.rows(), w.cols(), steps);
  WindowsPacked<T> packed{steps, w.rows(), w.cols(), {}, {}, {}, {}};
  packed.values.resize(size_t(places));
  packed.columns.resize(size_t(places));
  packed.tail_counts.resize(size_t(windows_groups(w.rows()) * kWindowsRows));
  for (Index i = 0; i < w.rows(); ++i) {
    const T* row = w.data() + i * w.outerStride();
    for (Index first = 0, step; first < w.cols(); first += kWindowsColumns) {
      step = 0;
      for (Index j = first; j < std::min(first + kWindowsColumns, w.cols()); ++j) {
        if (!detail::is_stored(row[j])) continue;
        if (step < steps) {
          const auto at = size_t(windows_place(i, w.cols(), steps, first / kWindowsColumns, step++));
          packed.values[at] = row[j];
          packed.columns[at] = uint8_t(j - first);
        } else {
          packed.values.push_back(row[j]);
          packed.tail_columns.push_back(uint16_t(j));
          ++packed.tail_counts[size_t(i)];
        }
      }
    }
  }
  while (packed.tail_columns.size() % kWindowsTailUnit != 0) {
    packed.values.push_back(T{});
    packed.tail_columns.push_back(0);
  }
  return packed;
}

namespace detail {

template <class T>
bool holds_weight(const T& value) {
  if constexpr (std::is_same_v<T, int8_t>) {
    return value != 0;
  } else {
    return is_stored(value);
  }
}

}  // namespace detail

// Calls visit(row, column, i) for every value i that is a weight or may be one, row after row but not with
// ascending column. Places whose row or column is beyond the matrix hold no weight.
template <class T, class Visit>
void for_each_value(const WindowsPacked<T>& p, Visit&& visit) {
  auto tail = size_t(windows_places(p.rows, p.cols, p.steps));
  size_t t = 0;
  for (Index row = 0; row < p.rows; ++row) {
    for (Index window = 0; window < windows_of(p.cols); ++window) {
      for (Index step = 0; step < p.steps; ++step) {
        const auto at = size_t(windows_place(row, p.cols, p.steps, window, step));
        if (detail::holds_weight(p.values[at])) visit(row, window * kWindowsColumns + p.columns[at], at);
      }
    }
    for (int32_t count = p.tail_counts[size_t(row)]; count > 0; --count)
      visit(row, Index(p.tail_columns[t++]), tail++);
  }
}

template <class T>
Matrix<T> unpack(const WindowsPacked<T>& packed) {
  Matrix<T> w = detail::zeros<T>(packed.rows, packed.cols);
  for_each_value(packed, [&](Index row, Index column, size_t i) { w(row, column) = packed.values[i]; });
  return w;
}

}  // namespace prune
