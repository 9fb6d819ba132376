// LIBXSMM's products, dense and sparse, with code made for the shape and OpenMP threads. Compiled where CMake
// found the library.
#pragma once

#include "bench/product.h"

namespace prune::bench {

// f32 and bf16. Weights lie in tiles as its batch-reduce kernels want them; sizes of tiles are chosen by
// time.
std::unique_ptr<Product> libxsmm_dense(const Case& c, const TestWeights& weights);

// f32, by its spmdm interface. (Its fsspmdm keeps the whole matrix in code, which is for operators of a few
// thousand weights.)
std::unique_ptr<Product> libxsmm_sparse(const Case& c, const TestWeights& weights);

std::string libxsmm_version();  // and the instruction set that code is made for

}  // namespace prune::bench
