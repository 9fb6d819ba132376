// The frame of every kernel for a few rows of X: weights are read once, in the order they lie in memory, and
// the rows of X stay in cache. Such a product is as fast as memory delivers the weights.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/sparse/plan.h"

namespace prune::kernels {

class FewRows : public Layout {
 public:
  // Rows of X that share one pass over the weights.
  static constexpr int64_t kMaxBatch = 16;

  size_t workspace_bytes(int64_t n, int threads) const final;
  void run(const Batch& batch, int threads, void* workspace) const final;

 protected:
  // Rows of W are taken in groups of group_rows (at most kMaxGroupRows). costs holds the running total of
  // work before each group, groups + 1 entries, so that threads get equal work.
  static constexpr int64_t kMaxGroupRows = 64;
  FewRows(int64_t rows, int64_t group_rows, std::vector<float> scales, std::vector<int64_t> costs)
      : rows_(rows), group_rows_(group_rows), scales_(std::move(scales)), costs_(std::move(costs)) {}

  int64_t groups() const { return static_cast<int64_t>(costs_.size()) - 1; }
  size_t frame_bytes() const { return scales_.size() * sizeof(float) + costs_.size() * sizeof(int64_t); }

  // Rows of X in the order and type that the kernel wants: packed_x_bytes() bytes a row, a multiple of 64.
  virtual size_t packed_x_bytes() const = 0;
  // Row i of the n that are packed together.
  virtual void pack_x(const float* x, int64_t i, int64_t n, char* packed) const = 0;
  // sums[i * group_rows + r] = the product of row r of the group with row i of the packed n <= kMaxBatch.
  virtual void multiply(int64_t group, const void* x, int64_t n, float* sums) const = 0;

 private:
  void multiply_groups(const Batch& batch, int64_t first, int64_t n, int64_t begin, int64_t end,
                       const void* x) const;

  int64_t rows_;
  int64_t group_rows_;
  std::vector<float> scales_;
  std::vector<int64_t> costs_;
};

// Running totals for groups of equal work.
std::vector<int64_t> equal_costs(int64_t groups);

}  // namespace prune::kernels
