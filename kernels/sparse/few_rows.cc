#include "kernels/sparse/few_rows.h"

#include <algorithm>

#include "kernels/sparse/threads.h"

namespace prune::kernels {

std::vector<int64_t> equal_costs(int64_t groups) {
  std::vector<int64_t> costs(static_cast<size_t>(groups) + 1);
  for (int64_t g = 0; g <= groups; ++g) costs[g] = g;
  return costs;
}

size_t FewRows::workspace_bytes(int64_t n, int) const {
  return static_cast<size_t>(std::min(n, kMaxBatch)) * packed_x_bytes();
}

void FewRows::run(const Batch& batch, [[maybe_unused]] int threads, void* workspace) const {
  char* packed = static_cast<char*>(workspace);
#pragma omp parallel num_threads(threads)
  {
    // Each thread takes the groups where its share of the work begins and ends.
    const int64_t total = costs_.back(), team = team_size(), index = thread_index();
    const auto at = [&](int64_t share) {
      return std::lower_bound(costs_.begin(), costs_.end(), total * share / team) - costs_.begin();
    };
    const int64_t begin = index == 0 ? 0 : at(index);
    const int64_t end = index + 1 == team ? groups() : at(index + 1);
    for (int64_t first = 0; first < batch.n; first += kMaxBatch) {
      const int64_t n = std::min(kMaxBatch, batch.n - first);
#pragma omp for schedule(static)
      for (int64_t i = 0; i < n; ++i) pack_x(batch.x + (first + i) * batch.ldx, i, n, packed);
      multiply_groups(batch, first, n, begin, end, packed);
      // The next rows of X overwrite the packed ones.
#pragma omp barrier
    }
  }
}

void FewRows::multiply_groups(const Batch& batch, int64_t first, int64_t n, int64_t begin, int64_t end,
                              const void* x) const {
  float sums[kMaxBatch * kMaxGroupRows];
  for (int64_t g = begin; g < end; ++g) {
    multiply(g, x, n, sums);
    const int64_t row = g * group_rows_, present = std::min(group_rows_, rows_ - row);
    for (int64_t i = 0; i < n; ++i) {
      float* y = batch.y + (first + i) * batch.ldy + row;
      for (int64_t r = 0; r < present; ++r) {
        const float scale = scales_.empty() ? 1.0f : scales_[row + r];
        const float shift = batch.bias == nullptr ? 0.0f : batch.bias[row + r];
        y[r] = sums[i * group_rows_ + r] * scale + shift;
      }
    }
  }
}

}  // namespace prune::kernels
