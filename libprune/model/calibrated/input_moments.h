// Second moments of the inputs of linear layers that read the same X.
#pragma once

#include <cstdint>

#include <prune/matrix.h>

namespace prune {

class InputMoments {
 public:
  // With `follows` also the moments with other inputs of the same tokens, and with `lacks` numbers a token
  // that the outputs should make up for.
  InputMoments(Index inputs, bool follows, Index lacks = 0);

  // G += X^T X, C += F^T X, L += E^T X for X, F [n, inputs] and E [n, lacks] contiguous; F is null where
  // nothing is followed, E where nothing lacks.
  void add(const float* x, int64_t n, const float* followed = nullptr, const float* lacking = nullptr);

  int64_t tokens() const { return tokens_; }
  // All entries, once after the last add(); where no token came, G = C = I and L = 0, as if all inputs were
  // alike. Throws Error(kInput) when an input was NaN or infinite, or so large that its square is.
  void finish();
  ConstView<float> gram() const { return view(gram_); }
  // f C + (1 - f) G: times W^T the moments of X with outputs that are f part those on F, the rest those on X.
  Matrix<float> blend(double f) const;
  bool follows() const { return cross_.size() > 0; }
  // L [lacks, inputs], empty where nothing lacks.
  ConstView<float> lacking() const { return view(lacking_); }
  bool has_lacking() const { return lacking_.size() > 0; }

 private:
  Matrix<float> gram_;   // the upper triangle until finish()
  Matrix<float> cross_;  // empty, or [inputs, inputs]
  Matrix<float> lacking_;
  int64_t tokens_ = 0;
};

}  // namespace prune
