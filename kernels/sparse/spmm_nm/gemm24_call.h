// What both many-token 2:4 products check and pass on.
#pragma once

#include "kernels/sparse/cuda/finish.h"
#include "kernels/sparse/spmm_nm/gemm24.h"

namespace prune::kernels::cuda {

inline bool has_row_scales(Weight24 weight) { return weight == Weight24::kInt8 || both_8_bits(weight); }

inline Status check_gemm24(const Matrix24& matrix, const ProductCall& call, const Epilogue& epilogue) {
  if (matrix.rows < 8 || matrix.rows % 8 != 0 || matrix.cols < 64 || matrix.cols % 64 != 0)
    return {Reason::kShape};
  if (call.tokens < 1 || call.x_stride < matrix.cols || call.y_stride < matrix.rows) return {Reason::kShape};
  if (has_row_scales(matrix.weight) && matrix.row_scales == nullptr) return {Reason::kShape};
  const int x_unit = both_8_bits(matrix.weight) ? 16 : 8;  // elements of 16 bytes
  if (!aligned16(matrix.stream) || !aligned16(matrix.row_scales) || !aligned16(call.x) ||
      !aligned16(call.y) || call.x_stride % x_unit != 0 || call.y_stride % 8 != 0) {
    return {Reason::kAlignment};
  }
  return check_epilogue(epilogue, matrix.rows);
}

inline Finish finish_of(const Matrix24& matrix, const ProductCall& call, const Epilogue& epilogue) {
  return {call.y,      call.y_stride, has_row_scales(matrix.weight) ? matrix.row_scales : nullptr,
          matrix.rows, call.tokens,   call.element == Element::kF16,
          epilogue};
}

}  // namespace prune::kernels::cuda
