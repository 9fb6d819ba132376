// Block-sparse weights.
#include "bench/operation.h"

namespace prune::bench {
namespace {

Operation bsr_operation(Block block, bool has_int8_inputs = false) {
  Operation op;
  op.name = "spmm_bsr_" + std::to_string(block.rows) + "x" + std::to_string(block.cols);
  op.types = {WeightType::kF32, WeightType::kBf16, WeightType::kI8};
  if (has_int8_inputs) {
    op.name += "_w8a8";
    op.types = {WeightType::kI8};
    op.least_rows = kMostFewRows + 1;
    op.has_int8_inputs = true;
  }
  op.percents = {50, 80, 90};
  op.unit = block;
  op.is_in_quick = block.rows == 16 && block.cols == 16 && !has_int8_inputs;
  op.random = [=](const Shape& shape, int percent) {
    return random_block_places(shape, block, 1 - percent / 100.0);
  };
  op.adopt = [=](const Places& places) { return as_blocks(places, block); };
  op.prepare = [=](const Case& c, const TestWeights& weights) {
    const PackedBsr packed = pack_bsr(weights, block);
    return plan_product(c.n, [&](kernels::Use use) {
      return kernels::prepare(packed.view, {.use = use, .int8_inputs = has_int8_inputs});
    });
  };
  return op;
}

Operation in_place_operation(Block block) {
  Operation op = bsr_operation(block);
  op.name += "_in_place";
  op.is_in_quick = false;
  op.prepare = [=](const Case& c, const TestWeights& weights) {
    return in_place_product(c.n, weights, [=](const TestWeights& w) { return pack_bsr(w, block); });
  };
  return op;
}

}  // namespace

std::vector<Operation> bsr_operations() {
  std::vector<Operation> list;
  for (const Block block : {Block{1, 16}, {4, 1}, {4, 4}, {8, 8}, {16, 1}, {16, 16}, {32, 32}, {64, 64}})
    list.push_back(bsr_operation(block));
  list.push_back(bsr_operation({16, 16}, /*has_int8_inputs=*/true));
  list.push_back(in_place_operation({16, 16}));
  return list;
}

}  // namespace prune::bench
