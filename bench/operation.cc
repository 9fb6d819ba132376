#include "bench/operation.h"

#include <algorithm>

namespace prune::bench {

bool Operation::takes(const Case& c) const {
  return std::ranges::find(types, c.type) != types.end() && c.n >= least_rows && c.n <= most_rows &&
         c.shape.rows % unit.rows == 0 && c.shape.cols % unit.cols == 0;
}

const std::vector<Operation>& all_operations() {
  static const std::vector<Operation> all = [] {
    std::vector<Operation> list;
    for (const auto make :
         {dense_operations, nm_operations, bitmask_operations, csr_operations, bsr_operations}) {
      std::vector<Operation> some = make();
      std::ranges::move(some, std::back_inserter(list));
    }
    return list;
  }();
  return all;
}

const Operation* find_operation(const std::string& name) {
  const auto found = std::ranges::find(all_operations(), name, &Operation::name);
  return found == all_operations().end() ? nullptr : &*found;
}

}  // namespace prune::bench
