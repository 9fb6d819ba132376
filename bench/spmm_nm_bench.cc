// N:M weights.
#include "bench/harness.h"

namespace prune::bench {
namespace {

struct Packed {
  std::vector<char> values;
  std::vector<uint8_t> indices;
  kernels::NmWeights view;
};

// Every group keeps a random choice, as pruning real weights does.
Packed random_nm(const Shape& shape, WeightType type, int32_t keep, int32_t group) {
  std::mt19937 rng(11);
  const int32_t bits = kernels::nm_index_bits(group);
  const int64_t row_bytes = kernels::nm_row_bytes(shape.cols, keep, group);
  Packed p{random_values(shape.rows * shape.cols / group * keep, type, 13),
           std::vector<uint8_t>(static_cast<size_t>(shape.rows * row_bytes)),
           {}};
  for (int64_t r = 0; r < shape.rows; ++r) {
    int64_t bit = r * row_bytes * 8;
    for (int64_t g = 0; g < shape.cols / group; ++g) {
      for (int32_t j = 0, left = keep; j < group && left > 0; ++j) {
        if (static_cast<int32_t>(rng() % static_cast<uint32_t>(group - j)) >= left) continue;
        for (int32_t b = 0; b < bits; ++b, ++bit)
          p.indices[bit / 8] |= static_cast<uint8_t>((j >> b & 1) << bit % 8);
        --left;
      }
    }
  }
  p.view.rows = shape.rows;
  p.view.cols = shape.cols;
  p.view.type = type;
  p.view.values = p.values.data();
  p.view.keep = keep;
  p.view.group = group;
  p.view.indices = p.indices.data();
  return p;
}

void add_case(const char* op, WeightType type, const Shape& shape, int64_t n, int32_t keep, int32_t group) {
  const Case c{op, type, shape, n, 100 - 100 * keep / group};
  add(c, [=](benchmark::State& state) {
    measure(state, c, [&] {
      const Packed packed = random_nm(c.shape, c.type, keep, group);
      return prepare_copies(c, [&](kernels::Use use) { return kernels::prepare(packed.view, {.use = use}); });
    });
  });
}

}  // namespace

void add_spmm_nm() {
  for (const WeightType type : {WeightType::kF32, WeightType::kBf16, WeightType::kI8}) {
    for (const Shape& shape : kShapes) {
      for (const int64_t n : kBatches) {
        add_case("spmm_nm", type, shape, n, 2, 4);
        add_case("spmm_nm", type, shape, n, 1, 4);
        add_case("spmm_nm_4of8", type, shape, n, 4, 8);
      }
    }
    for (const int64_t n : kFewBatches) add_case("spmm_nm", type, kLargeShape, n, 2, 4);
  }
}

}  // namespace prune::bench
