// Normalisation of rows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "libprune/model/decoder/family.h"

namespace prune {

// RMS:   y = x / sqrt(mean(x^2) + epsilon) * weight
// layer: y = (x - mean(x)) / sqrt(var(x) + epsilon) * weight + bias, with the biased variance
struct Norm {
  NormKind kind = NormKind::kRms;
  float epsilon = 0;
  std::string weight_name;    // of the checkpoint's tensor
  std::vector<float> weight;  // as applied: the family's norm_weight_offset is added
  std::vector<float> bias;    // layer norms only

  bool exists() const { return !weight.empty(); }
  int64_t width() const { return static_cast<int64_t>(weight.size()); }
  // One row; x and y may be the same.
  void apply(const float* x, float* y) const;
  // `n` rows, contiguous, on all threads.
  void apply(const float* x, float* y, int64_t n) const;
};

}  // namespace prune
