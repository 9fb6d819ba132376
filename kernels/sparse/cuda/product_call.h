// What every product on the GPU is called with.
#pragma once

#include <cstdint>

#include "kernels/sparse/cuda/status.h"

namespace prune::kernels::cuda {

enum class Element { kBf16, kF16 };  // of x and of y

// y [tokens, rows] = x [tokens, cols] W^T, both row-major; each operation's contract says what it takes.
struct ProductCall {
  Element element = Element::kBf16;
  int tokens = 0;
  const void* x = nullptr;
  int64_t x_stride = 0;  // elements from token to token
  void* y = nullptr;
  int64_t y_stride = 0;
  // Begin to fetch weights while the stream's previous kernel is still running (programmatic dependent
  // launch, compute capability 9.0). x is read and y written only after it is over, so any previous kernel
  // may make x; it must not be the one that writes the weights.
  bool overlap_previous = false;
  cudaStream_t stream = nullptr;
};

inline bool aligned16(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) % 16 == 0; }

}  // namespace prune::kernels::cuda
