#include "kernels/sparse/row_math/loops.h"

namespace prune::kernels {

extern const RowMath row_math_avx2 = loops("row_math_avx2");

}  // namespace prune::kernels
