#include "kernels/sparse/row_math/loops.h"

namespace prune::kernels {

extern const RowMath row_math_avx512 = loops("row_math_avx512");

}  // namespace prune::kernels
