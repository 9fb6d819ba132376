// The shapes of linear layers that are measured.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "bench/case.h"

namespace prune::bench {

struct ShapeSet {
  std::string_view name;
  std::string_view what;
  std::vector<Shape> shapes;  // out x in, each once
  bool is_for_few_rows_only = false;
};

const std::vector<ShapeSet>& shape_sets();
const ShapeSet* find_shape_set(std::string_view name);

}  // namespace prune::bench
