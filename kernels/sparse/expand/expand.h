// Packed weights made dense again, some rows at a time: where X has many rows, a dense product of a tile that
// is still in cache can be faster than any sparse one, and a packed matrix needs no second copy for it.
#pragma once

#include <cstdint>

#include "kernels/sparse/isa.h"
#include "kernels/sparse/weights.h"

namespace prune::kernels {

// The type of an element of expanded rows: floats for float and f16 weights, else bf16, which holds whole
// numbers up to 256 exactly.
constexpr WeightType expanded_type(WeightType type) {
  return fits_bf16(type) ? WeightType::kBf16 : WeightType::kF32;
}

// Floats, too, where groups of columns have scales of their own.
constexpr WeightType expanded_type(const Weights& w) {
  return w.scale_group != 0 ? WeightType::kF32 : expanded_type(w.type);
}

// out [count, cols]: rows [first, first + count) of W, row-major, +0 where nothing is stored. Scales of
// groups are applied, those of rows are not. Works on all threads, except from inside a parallel region. For
// blocks, first and count are multiples of block_rows, for windows first is one of kWindowRows. The weights
// must be free of faults (see find_fault).
void expand(const NmWeights& weights, int64_t first, int64_t count, void* out,
            uint32_t isa = isa::supported());
void expand(const BitmaskWeights& weights, int64_t first, int64_t count, void* out,
            uint32_t isa = isa::supported());
void expand(const CsrWeights& weights, int64_t first, int64_t count, void* out,
            uint32_t isa = isa::supported());
void expand(const BsrWeights& weights, int64_t first, int64_t count, void* out,
            uint32_t isa = isa::supported());
void expand(const WindowsWeights& weights, int64_t first, int64_t count, void* out,
            uint32_t isa = isa::supported());

}  // namespace prune::kernels
