// A dense linear layer that multiplies its weights where they lie, in a mapped file for example: nothing is
// rearranged, so it is ready at once and holds no memory of its own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "kernels/sparse/plan.h"
#include "libprune/model/dense_linear.h"
#include "libprune/model/rounding.h"

namespace prune {

class TuningTable;

struct PlainLinearOptions {
  Rounding rounding = Rounding::kBf16;
  // Batches of at least this many rows run on oneDNN. Not given: looked up in `tuning`, and measured if it is
  // not there.
  std::optional<int64_t> dense_from = {};
  TuningTable* tuning = nullptr;  // nullptr: TuningTable::of_user()
};

// Y[n, out] = X[n, in] W^T + bias with float X, Y and bias.
class PlainLinear {
 public:
  // weights [out, in] row-major, floats or bf16 bit patterns, aligned to the type; not copied. bias [out] or
  // null, copied.
  PlainLinear(DenseType type, const void* weights, int64_t out, int64_t in, const float* bias = nullptr,
              const PlainLinearOptions& options = {});

  int64_t out() const { return plan_.rows(); }
  int64_t in() const { return plan_.cols(); }

  // y[i * ldy + r] for i < n; n >= 0. Y must not overlap X. Threads may run one layer at once. Throws
  // Error(kRuntime) where oneDNN fails.
  void forward(const float* x, int64_t ldx, float* y, int64_t ldy, int64_t n) const;

  // What a batch of n rows runs on: "plain_bf16_avx512bf16", or "dense".
  const char* kernel_name(int64_t n) const;

 private:
  void forward_many(const float* x, int64_t ldx, float* y, int64_t ldy, int64_t n) const;

  DenseType type_;
  const void* weights_;
  bool in_bf16_;
  kernels::Plan plan_;
  std::vector<float> bias_;
  int64_t dense_from_;
};

}  // namespace prune
