// N:M weights.
#include "bench/operation.h"

namespace prune::bench {
namespace {

// percents: of the zeros of `keep` of every `group`; 1:4 shares its name with 2:4, its percentage differs.
int32_t kept(int32_t group, int percent) { return group * (100 - percent) / 100; }

Operation nm_operation(const char* name, int32_t group, const std::vector<int>& percents,
                       bool has_int8_inputs = false) {
  Operation op;
  op.name = name;
  op.types = {WeightType::kF32, WeightType::kBf16, WeightType::kI8};
  if (has_int8_inputs) {
    op.types = {WeightType::kI8};
    op.least_rows = kMostFewRows + 1;
    op.has_int8_inputs = true;
  }
  op.percents = percents;
  op.unit = {1, group};
  op.random = [=](const Shape& shape, int percent) {
    return random_group_places(shape, kept(group, percent), group);
  };
  op.adopt = [=](const Places& places) {
    for (const int percent : {75, 50}) {
      if (auto groups = as_groups(places, kept(group, percent), group)) return groups;
    }
    return std::optional<Places>();
  };
  op.prepare = [=](const Case& c, const TestWeights& weights) {
    const auto keep = static_cast<int32_t>(weights.places.indptr[1] * group / c.shape.cols);
    const PackedNm packed = pack_nm(weights, keep, group);
    return plan_product(c.n, [&](kernels::Use use) {
      return kernels::prepare(packed.view, {.use = use, .int8_inputs = has_int8_inputs});
    });
  };
  return op;
}

Operation in_place_operation() {
  Operation op = nm_operation("spmm_nm_in_place", 4, {50});
  op.types.insert(op.types.begin() + 1, WeightType::kF16);
  op.prepare = [](const Case& c, const TestWeights& weights) {
    return in_place_product(c.n, weights, [](const TestWeights& w) { return pack_nm(w, 2, 4); });
  };
  return op;
}

}  // namespace

std::vector<Operation> nm_operations() {
  std::vector<Operation> list = {nm_operation("spmm_nm", 4, {50, 75}), nm_operation("spmm_nm_4of8", 8, {50}),
                                 nm_operation("spmm_nm_w8a8", 4, {50}, /*has_int8_inputs=*/true),
                                 in_place_operation()};
  list[0].is_in_quick = true;
  list[0].types.insert(list[0].types.begin() + 1, WeightType::kF16);
  return list;
}

}  // namespace prune::bench
