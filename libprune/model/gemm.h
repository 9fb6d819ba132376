// Products of float matrices on oneDNN.
#pragma once

#include <cstdint>
#include <vector>

#include "libprune/model/float_matrix.h"

namespace prune {

using Bf16Memory = std::vector<uint16_t, UninitializedAllocator<uint16_t>>;

enum class Transpose : bool { kNo, kYes };
// kBf16 rounds A and B to bf16 and accumulates in float, about twice as fast where has_bf16_products(); it is
// kF32 elsewhere.
enum class Precision : bool { kF32, kBf16 };

// C = alpha op(A) op(B) + beta C with C [m, n], op(A) [m, k], op(B) [k, n], all row-major with the given
// distances between rows; with beta == 0, C is written only. Runs on all OpenMP threads, and on one inside a
// parallel region. Throws Error(kRuntime) where oneDNN fails.
struct Gemm {
  int64_t m = 0, n = 0, k = 0;
  Transpose transpose_a = Transpose::kNo, transpose_b = Transpose::kNo;
  float alpha = 1, beta = 0;
  Precision precision = Precision::kF32;
};
void gemm(const Gemm& shape, const float* a, int64_t lda, const float* b, int64_t ldb, float* c, int64_t ldc);

// A or B of products that share it: floats, and where it has been rounded once for all of them its bf16 bit
// patterns. Rows are ld apart.
struct GemmOperand {
  const float* floats = nullptr;
  int64_t ld = 0;
  const uint16_t* rounded = nullptr;
  int64_t rounded_ld = 0;

  // The same without its first columns.
  GemmOperand from_column(int64_t column) const {
    return {floats + column, ld, rounded == nullptr ? nullptr : rounded + column, rounded_ld};
  }
};
// Whether products of this precision read bf16.
bool reads_bf16(Precision precision);
// Rounds x [rows, cols] into `memory` where reads_bf16().
GemmOperand gemm_operand(const float* x, int64_t ld, int64_t rows, int64_t cols, Precision precision,
                         Bf16Memory& memory);
void gemm(const Gemm& shape, const GemmOperand& a, const GemmOperand& b, float* c, int64_t ldc);

// The same on bf16 bit patterns; only where has_bf16_products(). `precision` has no say.
void gemm_bf16(const Gemm& shape, const uint16_t* a, int64_t lda, const uint16_t* b, int64_t ldb, float* c,
               int64_t ldc);

// Y [n, rows] = X [n, cols] W^T with floats X and bf16 W [rows, cols], widened some rows at a time.
void multiply_widened(const float* x, int64_t ldx, const uint16_t* weights, int64_t rows, int64_t cols,
                      float* y, int64_t ldy, int64_t n);

}  // namespace prune
