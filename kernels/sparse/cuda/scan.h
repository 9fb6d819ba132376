// Offsets from counts, in GPU memory.
#pragma once

#include <cstdint>

#include "kernels/sparse/cuda/status.h"

namespace prune::kernels::cuda {

// counts[i] <- the sum of those before it, counts[count] <- the sum of all. In place, [count + 1].
Status counts_to_starts(uint32_t* counts, int64_t count, cudaStream_t stream);

}  // namespace prune::kernels::cuda
