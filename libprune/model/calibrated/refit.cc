#include <prune/update/refit.h>

#include "libprune/model/calibrated/layer_method.h"

namespace prune::layer {

void finish_by_refit(const LayerTask& task, LayerResult& result) {
  update::RefitOptions options;
  options.damping = task.damping;
  options.max_steps = 60;
  // The energy only scales errors that are not read.
  const LayerTarget target{task.dense, task.rhs, 0};
  update::refit(view(result.weights.data(), result.weights.rows(), result.weights.cols()), result.mask,
                task.gram, target, options);
  result.damping = task.damping;
}

LayerResult refit(const LayerTask& task) {
  LayerResult result{.weights = task.dense, .mask = wanda_mask(task)};
  finish_by_refit(task, result);
  return result;
}

}  // namespace prune::layer
