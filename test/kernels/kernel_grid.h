// The sizes, densities and batches that every kernel is tested with.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <string_view>
#include <utility>
#include <vector>

namespace prune::kernels {

// A size, a density, and the batches that meet there.
struct GridPoint {
  int64_t rows, cols;
  int sixteenths;
  std::vector<int64_t> batches;
};

// PRUNE_TEST_GRID=full: every size with every density and every batch of 1 to 70 rows, and every type that a
// kernel takes; an hour at most, best with OMP_NUM_THREADS=1. Otherwise each size, density and batch comes
// once.
inline bool is_grid_full() {
  const char* grid = std::getenv("PRUNE_TEST_GRID");
  return grid != nullptr && std::string_view(grid) == "full";
}

inline std::vector<GridPoint> kernel_grid() {
  constexpr int kMostRows = 70, kDensities = 17;  // by sixteenths
  constexpr std::pair<int64_t, int64_t> kSizes[] = {
      {1, 1},   {3, 5},    {4, 15},  {5, 16},   {7, 17},  {8, 33},  {9, 63},  {12, 64}, {15, 65},
      {16, 96}, {17, 127}, {31, 60}, {32, 128}, {33, 20}, {48, 36}, {63, 31}, {65, 129}};
  // Around blocks of inputs and chunks of rows.
  constexpr std::pair<int64_t, int64_t> kLargerSizes[] = {
      {2, 191},  {5, 225},  {6, 257},  {3, 319},   {4, 449},  {9, 515}, {2, 641},
      {5, 1025}, {129, 36}, {257, 20}, {259, 100}, {513, 12}, {519, 65}};
  std::vector<GridPoint> points;
  for (int i = 0; i < kDensities; ++i) {
    const auto add = [&](const std::pair<int64_t, int64_t>& size, int64_t first, int64_t step) {
      points.push_back({size.first, size.second, i, {}});
      for (int64_t n = first; n <= kMostRows; n += step) points.back().batches.push_back(n);
    };
    // A small share stays of a large matrix as well as of a small one.
    if (!is_grid_full()) {
      add(kSizes[i * 5 % std::size(kSizes)], i + 1, kDensities);
      continue;
    }
    for (const auto& size : kSizes) add(size, 1, 1);
    for (const auto& size : kLargerSizes) add(size, 1, 1);
  }
  return points;
}

}  // namespace prune::kernels
