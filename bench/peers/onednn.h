// oneDNN's dense product, the peer that every speed-up is counted against: weights in the layout that it asks
// for, activations of its type already.
#pragma once

#include "bench/product.h"

namespace prune::bench {

// f32 and bf16 as the weights are; int8 weights by int8 activations, with sums in int32.
std::unique_ptr<Product> onednn_dense(const Case& c, const TestWeights& weights);

}  // namespace prune::bench
