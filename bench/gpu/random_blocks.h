// Which blocks of a matrix are there: a share of them, at random over the whole.
#pragma once

#include <random>

#include "bench/gpu/weights24.h"

namespace prune::bench {

struct BlockStructure {
  std::vector<int32_t> indices;
  std::vector<int64_t> indptr{0};

  BlockStructure(const Shape& s, int block, double density) {
    const size_t across = size_t(s.k / block), all = across * size_t(s.m / block);
    std::vector<bool> there(all);
    std::fill(there.begin(), there.begin() + ptrdiff_t(double(all) * density), true);
    std::shuffle(there.begin(), there.end(), std::mt19937(5));
    for (size_t i = 0; i < all; ++i) {
      if (there[i]) indices.push_back(int32_t(i % across));
      if (i % across == across - 1) indptr.push_back(int64_t(indices.size()));
    }
  }
};

}  // namespace prune::bench
