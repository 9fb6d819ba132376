#include "kernels/sparse/row_math/row_math.h"

#include "kernels/sparse/isa.h"
#include "kernels/sparse/row_math/kernel.h"

namespace prune::kernels {

const RowMath& row_math() {
  static const RowMath& best = [&]() -> const RowMath& {
#define PRUNE_ROW_MATH_KERNEL(name, needs) \
  if (isa::runs_on(needs, isa::supported())) return name;
#include "kernels/sparse/row_math/kernels.inc"
#undef PRUNE_ROW_MATH_KERNEL
    return row_math_generic;
  }();
  return best;
}

}  // namespace prune::kernels
