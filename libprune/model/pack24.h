// 2:4 packed by the kernel of this machine.
#pragma once

#include <type_traits>

#include <prune/packed.h>

#include "kernels/sparse/pack24/pack24.h"

namespace prune {

// pack_nm(weights, NM{2, 4}), which is what runs for types, and on processors, without a kernel. Same arrays,
// same errors.
template <class T>
NmPacked<T> pack24(ConstView<T> weights) {
  const NM pattern{2, 4};
  if constexpr (std::is_same_v<T, float> || std::is_same_v<T, bf16> || std::is_same_v<T, f16>) {
    const kernels::Pack24* kernel = kernels::pack24();
    const Index rows = weights.rows(), cols = weights.cols();
    if (kernel == nullptr || cols % pattern.group != 0) return pack_nm(weights, pattern);
    const auto pack_row = sizeof(T) == 4 ? kernel->floats : kernel->halves;
    const Index row_bytes = index_bytes_per_row(pattern, cols);
    NmPacked<T> packed{pattern, rows, cols, {}, {}};
    packed.values.resize(size_t(rows * (cols / 2)));
    packed.indices.resize(size_t(rows * row_bytes));
    for (Index i = 0; i < rows; ++i) {
      const bool fits =
          pack_row(weights.data() + i * weights.outerStride(), cols, packed.values.data() + i * (cols / 2),
                   packed.indices.data() + i * row_bytes);
      if (!fits) return pack_nm(weights, pattern);  // says where
    }
    return packed;
  }
  return pack_nm(weights, pattern);
}

}  // namespace prune
