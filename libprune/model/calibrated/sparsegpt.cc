#include <prune/update/sparsegpt.h>

#include "libprune/model/calibrated/layer_method.h"

namespace prune::layer {

LayerResult sparsegpt(const LayerTask& task) {
  LayerResult result{.weights = task.dense, .mask = {}};
  update::SparsegptOptions options;
  options.damping = task.damping;
  options.keep_zeros = task.keep_zeros;
  update::SparsegptResult swept =
      update::sparsegpt(result.weights, task.gram, task.pattern, task.sparsity, options);
  result.mask = std::move(swept.mask);
  result.damping = swept.damping;
  result.retries = swept.retries;
  drop_kept_zeros(task, result.mask);
  return result;
}

}  // namespace prune::layer
