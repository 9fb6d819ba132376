// An operation that is measured: for which weights, and how its product is made.
#pragma once

#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bench/product.h"

namespace prune::bench {

struct Operation {
  std::string name;
  std::vector<WeightType> types;
  std::vector<int> percents;  // of zeros that are measured; {0} of dense products
  // Random places of the weights that stay.
  std::function<Places(const Shape&, int percent)> random;
  // A real mask as this operation takes it; nothing where it can't, and unset where it takes none.
  std::function<std::optional<Places>(const Places&)> adopt;
  // The weights outlive the product.
  std::function<std::unique_ptr<Product>(const Case&, const TestWeights&)> prepare;
  int64_t least_rows = 1;
  int64_t most_rows = std::numeric_limits<int64_t>::max();
  // Rows and columns must be multiples of this.
  Block unit = {1, 1};
  bool is_in_quick = false;
  // Rounds X to int8, and is compared with a dense product of int8 by int8.
  bool has_int8_inputs = false;

  bool takes(const Case& c) const;
};

// Every file of an operation has one of these.
std::vector<Operation> dense_operations();
std::vector<Operation> nm_operations();
std::vector<Operation> bitmask_operations();
std::vector<Operation> csr_operations();
std::vector<Operation> bsr_operations();

// All of them, in that order.
const std::vector<Operation>& all_operations();
const Operation* find_operation(const std::string& name);

}  // namespace prune::bench
