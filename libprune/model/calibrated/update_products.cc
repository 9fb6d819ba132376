#include "libprune/model/calibrated/update_products.h"

#include <prune/dense_product.h>

#include "libprune/model/gemm.h"

namespace prune {

void use_gemm_in_updates() {
  use_dense_product(
      [](const ProductShape& s, const float* a, Index lda, const float* b, Index ldb, float* c, Index ldc) {
        const Gemm shape{.m = s.m,
                         .n = s.n,
                         .k = s.k,
                         .transpose_a = Transpose(s.transpose_a),
                         .transpose_b = Transpose(s.transpose_b),
                         .alpha = s.alpha,
                         .beta = s.beta};
        gemm(shape, a, lda, b, ldb, c, ldc);
      });
}

}  // namespace prune
