// A dense linear layer on oneDNN: what the sparse kernels are measured against, and what layers that stay
// dense run on.
#pragma once

#include <cstdint>
#include <memory>

namespace prune {

enum class DenseType { kF32, kBf16 };

// X [n, cols] rounded to bf16, ties to even, rows next to each other. The memory is the calling thread's,
// until its next call.
const uint16_t* round_rows_to_bf16(const float* x, int64_t ldx, int64_t n, int64_t cols);

// How many copies of its weights a dense layer may hold.
enum class DenseCopies {
  kFastest,  // as given, and one in each layout that oneDNN asks for
  kOne,      // in the layout that oneDNN asks for with one row of X; every n runs on that
};

// Y[n, rows] = X[n, cols] W^T + bias with float X, Y and bias. With kBf16 the weights are bf16 bit patterns
// and X is rounded to bf16 first, as far as the processor has bf16 products; where it has none, the weights
// are widened to float and X is not rounded.
class DenseLinear {
 public:
  // weights [rows, cols] row-major, of floats or of bf16 bit patterns; bias [rows] or null. Both are copied.
  DenseLinear(const void* weights, DenseType type, int64_t rows, int64_t cols, const float* bias = nullptr,
              DenseCopies copies = DenseCopies::kFastest);
  ~DenseLinear();
  DenseLinear(DenseLinear&&) noexcept;
  DenseLinear& operator=(DenseLinear&&) noexcept;

  int64_t rows() const;
  int64_t cols() const;

  // y[i * ldy + r] for i < n. Threads may run one layer at once. The first run with a new n, ldx, ldy or
  // number of OpenMP threads plans it, and may lay out the weights once more. Throws Error(kRuntime) where
  // oneDNN fails.
  void run(const float* x, int64_t ldx, float* y, int64_t ldy, int64_t n) const;

  // The same with X as bf16 bit patterns: no conversion is left in the product. Only where takes_bf16().
  void run_bf16(const uint16_t* x, int64_t ldx, float* y, int64_t ldy, int64_t n) const;
  bool takes_bf16() const;
  // Memory of the weights and the bias.
  size_t bytes() const;

  // oneDNN's name of the code that a batch of n rows runs on, such as "brg:avx512_core"; plans it if need be.
  const char* implementation(int64_t n) const;

  // Version of the oneDNN library at run time, "2.6.3".
  static const char* library_version();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace prune
