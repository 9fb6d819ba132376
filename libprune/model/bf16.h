// Rounding to bf16 for products in it.
#pragma once

#include <cstdint>

namespace prune {

// Whether oneDNN has fast products of bf16 on this processor: AVX-512 and later.
bool has_bf16_products();

// y[i * cols + c] = the bf16 bit pattern next to x[i * ldx + c], ties to even, for i < n; on all threads
// where that is worth it.
void round_rows_to_bf16(const float* x, int64_t ldx, int64_t n, int64_t cols, uint16_t* y);

}  // namespace prune
