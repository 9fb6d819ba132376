// OpenBLAS' dense product of floats, with its threads. Compiled where CMake found the library.
#pragma once

#include "bench/product.h"

namespace prune::bench {

std::unique_ptr<Product> openblas_dense(const Case& c, const TestWeights& weights);

// Version, threading and the processor that it took this one for.
std::string openblas_version();

}  // namespace prune::bench
