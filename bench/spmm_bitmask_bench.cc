// Unstructured weights as a bitmask.
#include "bench/operation.h"

namespace prune::bench {

std::vector<Operation> bitmask_operations() {
  Operation op;
  op.name = "spmm_bitmask";
  op.types = {WeightType::kF32, WeightType::kBf16, WeightType::kI8};
  op.percents = {50, 60, 70, 80};
  op.is_in_quick = true;
  op.random = [](const Shape& shape, int percent) { return random_places(shape, 1 - percent / 100.0); };
  op.adopt = [](const Places& places) { return std::optional(places); };
  op.prepare = [](const Case& c, const TestWeights& weights) {
    const PackedBitmask packed = pack_bitmask(weights);
    return plan_product(c.n, [&](kernels::Use use) { return kernels::prepare(packed.view, {.use = use}); });
  };
  Operation in_place = op;
  in_place.name = "spmm_bitmask_in_place";
  in_place.is_in_quick = false;
  in_place.percents = {50, 60, 70};  // where it is taken, by every processor
  in_place.adopt = [](const Places& places) {
    const bool is_taken = 4 * places.count() >= places.shape.rows * places.shape.cols;
    return is_taken ? std::optional(places) : std::nullopt;
  };
  in_place.prepare = [](const Case& c, const TestWeights& weights) {
    return in_place_product(c.n, weights, pack_bitmask);
  };
  return {op, in_place};
}

}  // namespace prune::bench
