// Answers of the CUDA kernels that can only be faults here. Builds with CUDA only.
#pragma once

#include <stdexcept>

#include "kernels/sparse/cuda/status.h"

namespace prune::app {

// Throws std::runtime_error with the kernel's own words.
inline void must(const kernels::cuda::Status& status) {
  if (!status.ok()) throw std::runtime_error(describe(status));
}

}  // namespace prune::app
