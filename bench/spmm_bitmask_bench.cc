// Unstructured weights as a bitmask.
#include "bench/harness.h"

namespace prune::bench {
namespace {

struct Packed {
  std::vector<char> values;
  std::vector<uint8_t> bitmask;
  std::vector<int64_t> row_offsets;
  kernels::BitmaskWeights view;
};

Packed random_bitmask(const Shape& shape, WeightType type, double density) {
  std::mt19937 rng(17);
  const int64_t row_bytes = (shape.cols + 7) / 8;
  Packed p{{}, std::vector<uint8_t>(static_cast<size_t>(shape.rows * row_bytes)), {0}, {}};
  for (int64_t r = 0; r < shape.rows; ++r) {
    const auto kept = random_subset(shape.cols, density, rng);
    for (const int32_t k : kept) p.bitmask[r * row_bytes + k / 8] |= static_cast<uint8_t>(1 << k % 8);
    p.row_offsets.push_back(p.row_offsets.back() + static_cast<int64_t>(kept.size()));
  }
  p.values = random_values(p.row_offsets.back(), type, 19);
  p.view.rows = shape.rows;
  p.view.cols = shape.cols;
  p.view.type = type;
  p.view.values = p.values.data();
  p.view.bitmask = p.bitmask.data();
  p.view.row_offsets = p.row_offsets.data();
  return p;
}

void add_case(WeightType type, const Shape& shape, int64_t n, int percent) {
  const Case c{"spmm_bitmask", type, shape, n, percent};
  add(c, [c](benchmark::State& state) {
    measure(state, c, [&] {
      const Packed packed = random_bitmask(c.shape, c.type, 1 - c.percent / 100.0);
      return prepare_copies(c, [&](kernels::Use use) { return kernels::prepare(packed.view, {.use = use}); });
    });
  });
}

}  // namespace

void add_spmm_bitmask() {
  for (const WeightType type : {WeightType::kF32, WeightType::kBf16, WeightType::kI8}) {
    for (const int percent : {50, 60, 70, 80}) {
      for (const Shape& shape : kShapes) {
        for (const int64_t n : kBatches) add_case(type, shape, n, percent);
      }
      for (const int64_t n : kFewBatches) add_case(type, kLargeShape, n, percent);
    }
  }
}

}  // namespace prune::bench
