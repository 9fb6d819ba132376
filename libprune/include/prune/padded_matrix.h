// Memory for matrices whose parts are multiplied.
#pragma once

#include <prune/matrix.h>

namespace prune {

// Floats [rows, cols], row-major, not initialised. Rows are not a multiple of 4 KiB apart, where they would
// share the same few lines of a cache, and are followed by at least kPadding floats, so that loops may run in
// whole chunks of up to that many.
class PaddedMatrix {
 public:
  static constexpr Index kPadding = 16;

  PaddedMatrix(Index rows, Index cols)
      : cols_(cols), storage_(rows, (cols + kPadding - 1) / kPadding * kPadding + kPadding) {}

  Index rows() const { return storage_.rows(); }
  Index cols() const { return cols_; }
  void clear_row(Index i) { storage_.row(i).setZero(); }  // its padding too
  float operator()(Index i, Index j) const { return storage_(i, j); }

  View<float> view() { return {storage_.data(), rows(), cols_, Eigen::OuterStride<>(storage_.cols())}; }
  ConstView<float> view() const {
    return {storage_.data(), rows(), cols_, Eigen::OuterStride<>(storage_.cols())};
  }

 private:
  Index cols_;
  Matrix<float> storage_;
};

}  // namespace prune
