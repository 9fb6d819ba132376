// Second moments of the inputs of linear layers that read the same X.
#pragma once

#include <cstdint>

#include <prune/matrix.h>

namespace prune {

class InputMoments {
 public:
  // With `follows` also the moments with other inputs of the same tokens.
  InputMoments(Index inputs, bool follows);

  // G += X^T X, C += F^T X for X, F [n, inputs] contiguous; F is null where nothing is followed.
  void add(const float* x, const float* followed, int64_t n);

  int64_t tokens() const { return tokens_; }
  // All entries, once after the last add(); where no token came, G = C = I, as if all inputs were alike.
  // Throws Error(kInput) when an input was NaN or infinite, or so large that its square is.
  void finish();
  ConstView<float> gram() const { return view(gram_); }
  // f C + (1 - f) G: times W^T the moments of X with outputs that are f part those on F, the rest those on X.
  Matrix<float> blend(double f) const;
  bool follows() const { return cross_.size() > 0; }

 private:
  Matrix<float> gram_;   // the upper triangle until finish()
  Matrix<float> cross_;  // empty, or [inputs, inputs]
  int64_t tokens_ = 0;
};

}  // namespace prune
