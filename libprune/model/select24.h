// Magnitude 2:4 by the kernel of this machine.
#pragma once

#include <prune/prune.h>

#include "kernels/sparse/select24/select24.h"

namespace prune {

// select_magnitude(weights, NM{2, 4}, 0.5), which is what runs for types, and on processors, without a
// kernel. Same mask, same errors.
template <class T>
Mask select24_magnitude(ConstView<T> weights) {
  const auto portable = [&] { return select_magnitude(weights, NM{2, 4}, 0.5); };
  if constexpr (sizeof(T) == 4 || sizeof(T) == 2) {
    const kernels::Select24* kernel = kernels::select24();
    if (kernel == nullptr || weights.cols() % 4 != 0) return portable();
    const auto select_row = sizeof(T) == 4 ? kernel->floats : kernel->halves;
    Mask mask(weights.rows(), weights.cols());
    for (Index i = 0; i < weights.rows(); ++i) {
      const uint32_t largest =
          select_row(weights.data() + i * weights.outerStride(), weights.cols(), mask.row(i).data());
      if (largest > uint32_t(FloatBits<T>::kInfinityKey)) return portable();  // a NaN: it says where
    }
    return mask;
  }
  return portable();
}

}  // namespace prune
