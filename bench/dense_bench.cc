// Dense products: those of oneDNN and other libraries, and our own for a few rows of X.
#include "bench/operation.h"
#include "bench/peers/libxsmm.h"
#include "bench/peers/onednn.h"
#include "bench/peers/openblas.h"
#include "kernels/sparse/buffer.h"
#include "kernels/sparse/plain/plain.h"

namespace prune::bench {
namespace {

Operation dense_operation(const char* name, const std::vector<WeightType>& types) {
  Operation op;
  op.name = name;
  op.types = types;
  op.percents = {0};
  op.random = [](const Shape& shape, int) { return all_places(shape); };
  return op;
}

kernels::DenseWeights view_of(const TestWeights& weights) {
  kernels::DenseWeights view;
  view.rows = weights.places.shape.rows;
  view.cols = weights.places.shape.cols;
  view.type = weights.type;
  view.values = weights.values.data();
  return view;
}

// int8 weights with float inputs, which oneDNN can't multiply.
Operation gemv_operation() {
  Operation op = dense_operation("dense/gemv", {WeightType::kI8});
  op.most_rows = kMemoryBoundRows;
  op.prepare = [](const Case& c, const TestWeights& weights) {
    return plan_product(c.n,
                        [&](kernels::Use use) { return kernels::prepare(view_of(weights), {.use = use}); });
  };
  return op;
}

// Wider weights, multiplied where they lie: each copy keeps an array of its own, in large pages as the other
// layouts are, which a mapped file is not.
Operation plain_operation() {
  Operation op = dense_operation("dense/plain", {WeightType::kF32, WeightType::kBf16});
  op.most_rows = kMemoryBoundRows;
  op.prepare = [](const Case& c, const TestWeights& weights) {
    auto arrays = std::make_shared<std::vector<kernels::Buffer>>();
    const auto prepare_copy = [&](kernels::Use) {
      arrays->emplace_back(weights.values.size());
      std::memcpy(arrays->back().as<char>(), weights.values.data(), weights.values.size());
      kernels::DenseWeights view = view_of(weights);
      view.values = arrays->back().as<char>();
      return kernels::prepare_plain(view);
    };
    return plan_product(c.n, prepare_copy, arrays);
  };
  return op;
}

}  // namespace

std::vector<Operation> dense_operations() {
  Operation onednn = dense_operation("dense/onednn", {WeightType::kF32, WeightType::kBf16, WeightType::kI8});
  onednn.is_in_quick = true;
  onednn.prepare = [](const Case& c, const TestWeights& weights) { return onednn_dense(c, weights); };
  std::vector<Operation> list = {onednn, gemv_operation(), plain_operation()};
#ifdef PRUNE_HAS_OPENBLAS
  list.push_back(dense_operation("dense/openblas", {WeightType::kF32}));
  list.back().is_in_quick = true;
  list.back().prepare = [](const Case& c, const TestWeights& weights) { return openblas_dense(c, weights); };
#endif
#ifdef PRUNE_HAS_LIBXSMM
  list.push_back(dense_operation("dense/libxsmm", {WeightType::kF32, WeightType::kBf16}));
  list.back().is_in_quick = true;
  list.back().prepare = [](const Case& c, const TestWeights& weights) { return libxsmm_dense(c, weights); };
#endif
  return list;
}

}  // namespace prune::bench
