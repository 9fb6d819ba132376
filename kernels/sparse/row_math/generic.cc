#include "kernels/sparse/row_math/loops.h"

namespace prune::kernels {

extern const RowMath row_math_generic = loops("row_math_generic");

}  // namespace prune::kernels
