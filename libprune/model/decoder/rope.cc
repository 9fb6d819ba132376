#include "libprune/model/decoder/rope.h"

#include <cmath>

namespace prune {

RopeTable::RopeTable(const RopeConfig& config, int64_t length)
    : length_(length), half_(config.dimensions / 2) {
  cos_.resize(size_t(length_ * half_));
  sin_.resize(size_t(length_ * half_));
  for (int64_t p = 0; p < length_; ++p) {
    for (int64_t i = 0; i < half_; ++i) {
      const double angle = double(float(p) * config.frequencies[size_t(i)]);
      cos_[size_t(p * half_ + i)] = float(std::cos(angle));
      sin_[size_t(p * half_ + i)] = float(std::sin(angle));
    }
  }
}

void RopeTable::rotate(float* x, int64_t position) const {
  const float *c = cos(position), *s = sin(position);
  for (int64_t i = 0; i < half_; ++i) {
    const float a = x[i], b = x[i + half_];
    x[i] = a * c[i] - b * s[i];
    x[i + half_] = b * c[i] + a * s[i];
  }
}

void RopeTable::rotate_back(float* x, int64_t position) const {
  const float *c = cos(position), *s = sin(position);
  for (int64_t i = 0; i < half_; ++i) {
    const float a = x[i], b = x[i + half_];
    x[i] = a * c[i] + b * s[i];
    x[i + half_] = b * c[i] - a * s[i];
  }
}

}  // namespace prune
