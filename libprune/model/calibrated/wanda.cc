#include <prune/score/wanda.h>

#include "libprune/model/calibrated/layer_method.h"

namespace prune::layer {

// A zero scores nothing, so that it is pruned before any other weight of its row, group or block.
Mask wanda_mask(const LayerTask& task) {
  Mask mask =
      select_wanda(task.dense, task.gram.diagonal().cast<double>().eval(), task.pattern, task.sparsity);
  drop_kept_zeros(task, mask);
  return mask;
}

LayerResult wanda(const LayerTask& task) {
  LayerResult result{.weights = task.dense, .mask = wanda_mask(task)};
  apply(result.mask, result.weights);
  return result;
}

}  // namespace prune::layer
