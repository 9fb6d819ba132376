#include "libprune/model/gemm.h"

#include <oneapi/dnnl/dnnl.h>

#include <prune/error.h>

namespace prune {

void gemm(const Gemm& shape, const float* a, int64_t lda, const float* b, int64_t ldb, float* c,
          int64_t ldc) {
  if (shape.m == 0 || shape.n == 0) return;
  const auto letter = [](Transpose t) { return t == Transpose::kYes ? 'T' : 'N'; };
  const dnnl_status_t status = dnnl_sgemm(letter(shape.transpose_a), letter(shape.transpose_b), shape.m,
                                          shape.n, shape.k, shape.alpha, a, lda, b, ldb, shape.beta, c, ldc);
  if (status == dnnl_out_of_memory) throw_runtime("out of memory in a dense product of oneDNN");
  if (status != dnnl_success) throw_runtime("a dense product failed in oneDNN");
}

}  // namespace prune
