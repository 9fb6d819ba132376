#include <prune/update/swap.h>

#include "libprune/model/calibrated/layer_method.h"

namespace prune::layer {

LayerResult swap(const LayerTask& task) {
  LayerResult result = refit(task);
  update::SwapOptions options;
  options.damping = task.damping;
  options.keep_zeros = task.keep_zeros;
  const LayerTarget target{task.dense, task.rhs, 0};
  update::swap(view(result.weights.data(), result.weights.rows(), result.weights.cols()), result.mask,
               task.gram, target, task.pattern, options);
  finish_by_refit(task, result);
  return result;
}

}  // namespace prune::layer
