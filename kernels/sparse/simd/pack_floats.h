// Inputs as kernels in floats read them.
#pragma once

#include <cstdint>

namespace prune::kernels {
namespace {

// One chunk: cols inputs (all of a chunk's for more), zeros from there on.
template <int kChunk>
void pack_floats(const float* x, int64_t cols, void* packed) {
  auto* out = static_cast<float*>(packed);
  for (int64_t k = 0; k < kChunk; ++k) out[k] = k < cols ? x[k] : 0.0f;
}

}  // namespace
}  // namespace prune::kernels
