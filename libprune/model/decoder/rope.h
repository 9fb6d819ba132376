// Rotary position embedding (Su et al., RoFormer, arXiv:2104.09864) in the pairing of Hugging Face's models.
#pragma once

#include <cstdint>
#include <vector>

#include "libprune/model/decoder/config.h"

namespace prune {

// cos and sin of the angles of positions [0, length).
class RopeTable {
 public:
  RopeTable(const RopeConfig& config, int64_t length);

  int64_t length() const { return length_; }
  int64_t half() const { return half_; }  // number of pairs; 0: nothing rotates
  const float* cos(int64_t position) const { return cos_.data() + position * half_; }
  const float* sin(int64_t position) const { return sin_.data() + position * half_; }

  // One head's vector in place, for i < half: (x_i, x_{i+half}) turned by the angle i of `position`.
  void rotate(float* x, int64_t position) const;
  // The other way: the transpose of rotate(), which a gradient takes.
  void rotate_back(float* x, int64_t position) const;

 private:
  int64_t length_;
  int64_t half_;
  std::vector<float> cos_, sin_;
};

}  // namespace prune
