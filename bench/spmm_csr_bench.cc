// Very sparse unstructured weights as CSR, and sparse products of others with the same matrix.
#include "bench/operation.h"
#include "bench/peers/eigen_sparse.h"
#include "bench/peers/libxsmm.h"

namespace prune::bench {
namespace {

Operation csr_operation(const char* name, const std::vector<WeightType>& types) {
  Operation op;
  op.name = name;
  op.types = types;
  op.percents = {50, 70, 80, 90, 95};
  op.random = [](const Shape& shape, int percent) { return random_places(shape, 1 - percent / 100.0); };
  op.adopt = [](const Places& places) { return std::optional(places); };
  return op;
}

}  // namespace

std::vector<Operation> csr_operations() {
  Operation ours = csr_operation("spmm_csr", {WeightType::kF32, WeightType::kBf16});
  ours.is_in_quick = true;
  ours.prepare = [](const Case& c, const TestWeights& weights) {
    const kernels::CsrWeights view = as_csr(weights).view;
    return plan_product(c.n, [&](kernels::Use use) { return kernels::prepare(view, {.use = use}); });
  };
  Operation in_place = csr_operation("spmm_csr_in_place", {WeightType::kF32, WeightType::kBf16});
  in_place.percents = {90, 95};  // where it is taken
  in_place.adopt = [](const Places& places) {
    const bool is_taken = 10 * places.count() <= places.shape.rows * places.shape.cols;
    return is_taken ? std::optional(places) : std::nullopt;
  };
  in_place.prepare = [](const Case& c, const TestWeights& weights) {
    return in_place_product(c.n, weights, as_csr);
  };
  Operation eigen = csr_operation("csr/eigen", {WeightType::kF32});
  eigen.prepare = [](const Case& c, const TestWeights& weights) { return eigen_sparse(c, weights); };
  std::vector<Operation> list = {ours, in_place, eigen};
#ifdef PRUNE_HAS_LIBXSMM
  Operation libxsmm = csr_operation("csr/libxsmm", {WeightType::kF32});
  libxsmm.prepare = [](const Case& c, const TestWeights& weights) { return libxsmm_sparse(c, weights); };
  list.push_back(libxsmm);
#endif
  return list;
}

}  // namespace prune::bench
