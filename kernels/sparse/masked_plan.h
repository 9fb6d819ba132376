// Products with a weight whose zeros stay where they are while its other values change: training under a
// fixed mask. What does not stay is not multiplied, forward and backward.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/sparse/plan.h"

namespace prune::kernels {

// Which weights of W [rows, cols] stay: bit j % 64 of word j / 64 of each row.
struct MaskBits {
  int64_t rows = 0;
  int64_t cols = 0;
  const uint64_t* words = nullptr;
  int64_t words_per_row = 0;

  bool stays(int64_t r, int64_t c) const { return words[r * words_per_row + c / 64] >> c % 64 & 1; }
};

// kForward: Y [n, rows] = X [n, cols] W^T.  kBackward: Y [n, cols] = X [n, rows] W.
enum class Direction : bool { kForward, kBackward };

// W as lists of what stays (row_lists/kernel.h), in float, and where in W each of their values lies. Takes
// about ten bytes for each weight that stays.
class MaskedPlan {
 public:
  MaskedPlan() = default;  // empty: can't run
  // Needs rows and cols of 1 or more, rows * cols < 2^30, and no bit set behind the last column. All values
  // are zeros until refresh().
  MaskedPlan(const MaskBits& mask, Direction direction, uint32_t isa = isa::supported());
  MaskedPlan(MaskedPlan&&) = default;
  MaskedPlan& operator=(MaskedPlan&&) = default;

  // The largest share of weights that stay at which many rows of X take less time than a dense product does.
  static double densest(uint32_t isa = isa::supported());
  // Up to this many rows of X, a dense product is faster.
  static constexpr int64_t kFewRows = 15;

  // Takes the values anew from W [rows, cols], row-major and contiguous. On all OpenMP threads.
  void refresh(const float* weights);
  // Reentrant, but not beside refresh(). As Plan::run().
  void run(const Batch& batch) const { plan_.run(batch); }
  const char* kernel_name() const { return plan_.kernel_name(kFewRows + 1); }
  size_t bytes() const { return plan_.bytes() + places_.size() * sizeof(int32_t); }

 private:
  Plan plan_;
  std::span<float> values_;      // of the plan
  std::vector<int32_t> places_;  // of each of them: its index in W, or -1 for a zero that fills a list
};

}  // namespace prune::kernels
