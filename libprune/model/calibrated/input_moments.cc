#include "libprune/model/calibrated/input_moments.h"

#include <algorithm>
#include <cmath>
#include <string>

#include <prune/gram.h>

#include "libprune/model/gemm.h"

namespace prune {

InputMoments::InputMoments(Index inputs, bool follows, Index lacks)
    : gram_(Matrix<float>::Zero(inputs, inputs)) {
  if (follows) cross_ = Matrix<float>::Zero(inputs, inputs);
  if (lacks > 0) lacking_ = Matrix<float>::Zero(lacks, inputs);
}

void InputMoments::add(const float* x, int64_t n, const float* followed, const float* lacking) {
  if (n == 0) return;
  constexpr Index kPanel = 512;  // columns; of the lower triangle only their own squares are computed
  const Index in = gram_.cols();
  for (Index j = 0; j < in; j += kPanel) {
    const Index columns = std::min(kPanel, in - j);
    const Gemm shape{.m = j + columns, .n = columns, .k = n, .transpose_a = Transpose::kYes, .beta = 1};
    gemm(shape, x, in, x + j, in, gram_.data() + j, in);
  }
  if (follows()) {
    const Gemm shape{.m = in, .n = in, .k = n, .transpose_a = Transpose::kYes, .beta = 1};
    gemm(shape, followed, in, x, in, cross_.data(), in);
  }
  if (has_lacking()) {
    const Index lacks = lacking_.rows();
    const Gemm shape{.m = lacks, .n = in, .k = n, .transpose_a = Transpose::kYes, .beta = 1};
    gemm(shape, lacking, lacks, x, in, lacking_.data(), in);
  }
  tokens_ += n;
}

void InputMoments::finish() {
  if (tokens_ == 0) {
    gram_.setIdentity();
    if (follows()) cross_.setIdentity();
  }
  for (Index j = 0; j < gram_.cols(); ++j) {
    if (std::isfinite(gram_(j, j))) continue;
    throw_input("NaN, infinity or a number too large to square in input " + std::to_string(j));
  }
  detail::mirror_upper(gram_);
}

Matrix<float> InputMoments::blend(double f) const { return float(f) * cross_ + float(1 - f) * gram_; }

}  // namespace prune
