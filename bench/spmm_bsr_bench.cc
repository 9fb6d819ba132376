// Block-sparse weights.
#include "bench/harness.h"

namespace prune::bench {
namespace {

struct Packed {
  std::vector<char> values;
  std::vector<int32_t> indices;
  std::vector<int64_t> indptr;
  kernels::BsrWeights view;
};

struct Block {
  int32_t rows, cols;
};

Packed random_bsr(const Shape& shape, WeightType type, Block block, double density) {
  std::mt19937 rng(31);
  Packed p{{}, {}, {0}, {}};
  for (int64_t r = 0; r < shape.rows / block.rows; ++r) {
    const auto kept = random_subset(shape.cols / block.cols, density, rng);
    p.indices.insert(p.indices.end(), kept.begin(), kept.end());
    p.indptr.push_back(static_cast<int64_t>(p.indices.size()));
  }
  p.values = random_values(p.indptr.back() * block.rows * block.cols, type, 37);
  p.view.rows = shape.rows;
  p.view.cols = shape.cols;
  p.view.type = type;
  p.view.values = p.values.data();
  p.view.block_rows = block.rows;
  p.view.block_cols = block.cols;
  p.view.indices = p.indices.data();
  p.view.indptr = p.indptr.data();
  return p;
}

void add_case(WeightType type, const Shape& shape, int64_t n, int percent, Block block) {
  const std::string op = "spmm_bsr_" + std::to_string(block.rows) + "x" + std::to_string(block.cols);
  const Case c{op, type, shape, n, percent};
  add(c, [=](benchmark::State& state) {
    measure(state, c, [&] {
      const Packed packed = random_bsr(c.shape, c.type, block, 1 - c.percent / 100.0);
      return prepare_copies(c, [&](kernels::Use use) { return kernels::prepare(packed.view, {.use = use}); });
    });
  });
}

}  // namespace

void add_spmm_bsr() {
  for (const Block block : {Block{1, 16}, {4, 1}, {4, 4}, {8, 8}, {16, 1}, {16, 16}, {32, 32}, {64, 64}}) {
    for (const WeightType type : {WeightType::kF32, WeightType::kBf16, WeightType::kI8}) {
      for (const int percent : {50, 80, 90}) {
        for (const Shape& shape : kShapes) {
          for (const int64_t n : kBatches) add_case(type, shape, n, percent, block);
        }
        for (const int64_t n : kFewBatches) add_case(type, kLargeShape, n, percent, block);
      }
    }
  }
}

}  // namespace prune::bench
