// Very sparse unstructured weights as CSR, and Eigen's sparse product of the same matrix.
#include "bench/harness.h"
#include "bench/peers/eigen_sparse.h"

namespace prune::bench {
namespace {

struct Packed {
  std::vector<char> values;
  std::vector<int32_t> indices;
  std::vector<int64_t> indptr;
  kernels::CsrWeights view;
};

Packed random_csr(const Shape& shape, WeightType type, double density) {
  std::mt19937 rng(23);
  Packed p{{}, {}, {0}, {}};
  for (int64_t r = 0; r < shape.rows; ++r) {
    const auto kept = random_subset(shape.cols, density, rng);
    p.indices.insert(p.indices.end(), kept.begin(), kept.end());
    p.indptr.push_back(static_cast<int64_t>(p.indices.size()));
  }
  p.values = random_values(p.indptr.back(), type, 29);
  p.view.rows = shape.rows;
  p.view.cols = shape.cols;
  p.view.type = type;
  p.view.values = p.values.data();
  p.view.indices = p.indices.data();
  p.view.indptr = p.indptr.data();
  return p;
}

void add_case(WeightType type, const Shape& shape, int64_t n, int percent) {
  const Case c{"spmm_csr", type, shape, n, percent};
  add(c, [c](benchmark::State& state) {
    measure(state, c, [&] {
      const Packed packed = random_csr(c.shape, c.type, 1 - c.percent / 100.0);
      return prepare_copies(c, [&](kernels::Use use) { return kernels::prepare(packed.view, {.use = use}); });
    });
  });
}

void add_eigen_case(const Shape& shape, int64_t n, int percent) {
  const Case c{"csr/eigen", WeightType::kF32, shape, n, percent};
  add(c, [c](benchmark::State& state) {
    const Packed packed = random_csr(c.shape, c.type, 1 - c.percent / 100.0);
    const EigenSparse peer(packed.view);
    measure_peer(state, c, static_cast<double>(peer.bytes()), [&](const kernels::Batch& b) { peer.run(b); });
  });
}

}  // namespace

void add_spmm_csr() {
  for (const int percent : {50, 70, 80, 90, 95}) {
    for (const Shape& shape : kShapes) {
      for (const int64_t n : kBatches) {
        for (const WeightType type : {WeightType::kF32, WeightType::kBf16}) add_case(type, shape, n, percent);
        add_eigen_case(shape, n, percent);
      }
    }
    for (const WeightType type : {WeightType::kF32, WeightType::kBf16}) {
      for (const int64_t n : kFewBatches) add_case(type, kLargeShape, n, percent);
    }
    add_eigen_case(kLargeShape, 1, percent);
  }
}

}  // namespace prune::bench
