#include "kernels/sparse/pack24/pack24.h"

#include "kernels/sparse/pack24/kernel.h"

namespace prune::kernels {

const Pack24* pack24([[maybe_unused]] uint32_t isa) {
#define PRUNE_PACK24_KERNEL(name, needs) \
  if (isa::runs_on(needs, isa)) return &name;
#include "kernels/sparse/pack24/kernels.inc"
#undef PRUNE_PACK24_KERNEL
  return nullptr;
}

}  // namespace prune::kernels
