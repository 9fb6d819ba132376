// Eigen's sparse product, as a user of Eigen would write it.
#pragma once

#include "bench/product.h"

namespace prune::bench {

std::unique_ptr<Product> eigen_sparse(const Case& c, const TestWeights& weights);  // float weights

}  // namespace prune::bench
