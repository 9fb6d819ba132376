#include "kernels/sparse/select24/select24.h"

#include "kernels/sparse/select24/kernel.h"

namespace prune::kernels {

const Select24* select24([[maybe_unused]] uint32_t isa) {
#define PRUNE_SELECT24_KERNEL(name, needs) \
  if (isa::runs_on(needs, isa)) return &name;
#include "kernels/sparse/select24/kernels.inc"
#undef PRUNE_SELECT24_KERNEL
  return nullptr;
}

}  // namespace prune::kernels
