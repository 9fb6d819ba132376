// What one benchmark measures, and the name that says so:
// <op>/<type>/isa:<isa>/m:<m>/k:<k>/n:<n>/sparsity:<percent>, and /mask:<layer> where the zeros are a
// model's.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "kernels/sparse/weights.h"

namespace prune::bench {

using kernels::WeightType;

struct Shape {
  int64_t rows, cols;
  bool operator==(const Shape&) const = default;
};

struct Case {
  std::string op;  // "spmm_nm", "dense/onednn", ...
  WeightType type = WeightType::kF32;
  Shape shape = {0, 0};
  int64_t n = 1;          // rows of X
  int percent = 0;        // of the weights that are zero
  std::string mask = {};  // the layer whose zeros they are; empty: random
};

const char* type_name(WeightType type);
std::string name_of(const Case& c);
// The same backwards; isa may be left out and is not looked at. Nothing where the text is no such name.
std::optional<Case> parse_case(std::string_view name);
// "4096x11008", out x in.
std::optional<Shape> parse_shape(std::string_view text);

}  // namespace prune::bench
