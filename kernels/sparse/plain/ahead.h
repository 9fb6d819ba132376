// Asking the second-level cache for rows of W that are read side by side.
#pragma once

#include <cstdint>

#include "kernels/sparse/simd/prefetch.h"

namespace prune::kernels {
namespace {

// Of rows that lie one after the other: where these end, as many further on are what is read next.
template <int kGroupRows>
class SideBySide {
 public:
  explicit SideBySide(int64_t row_bytes) : row_bytes_(row_bytes) {}

  // At byte `at` of kRows rows.
  template <int kRows, class T>
  __attribute__((always_inline)) void ask_for(const T* const* rows, int64_t at) const {
    const int64_t to = at + kBytesAhead, next = to < row_bytes_ ? to : to + (kGroupRows - 1) * row_bytes_;
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) prefetch_second_level(rows[r], next);
  }

 private:
  int64_t row_bytes_;
};

}  // namespace
}  // namespace prune::kernels
