// Opens a checkpoint with the installed libraries; fails when it has no tensor to prune.
#include <iostream>

#include "libprune/model/prune_plan.h"

int main(int, char** argv) {
  const prune::Checkpoint checkpoint(argv[1]);
  const prune::PrunePlan plan = prune::plan_pruning(checkpoint, {});
  std::cout << checkpoint.shards().size() << " shards, " << plan.matrices() << " matrices to prune\n";
  return plan.matrices() > 0 ? 0 : 1;
}
