// What every instruction set makes of a batch: the form for its width.
#pragma once

#include "kernels/sparse/spmm_csr/kernel.h"

namespace prune::kernels {
namespace {

// Form::one() multiplies one row of X, Form::together<W>() W rows that lie side by side.
template <class Form, class T, class Column>
void multiply_csr(const void* values, const Column* columns, int64_t count, const float* x, int64_t n,
                  float* sums) {
  const T* weights = static_cast<const T*>(values);
  switch (csr_width(n)) {
    case 1:
      sums[0] = Form::one(weights, columns, count, x);
      return;
    case 4:
      return Form::template together<4>(weights, columns, count, x, sums);
    case 8:
      return Form::template together<8>(weights, columns, count, x, sums);
    default:
      return Form::template together<16>(weights, columns, count, x, sums);
  }
}

template <class Form, class T>
constexpr CsrKernel csr_kernel(const char* name, WeightType type) {
  return {name, type, multiply_csr<Form, T, uint16_t>, multiply_csr<Form, T, uint32_t>};
}

}  // namespace
}  // namespace prune::kernels
