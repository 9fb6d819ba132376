#include <prune/score/ria.h>

#include "libprune/model/calibrated/layer_method.h"

namespace prune::layer {

LayerResult ria(const LayerTask& task) {
  const auto scores = score::ria(task.dense, task.gram.diagonal().cast<double>().eval());
  LayerResult result{.weights = task.dense, .mask = select(scores, task.pattern, task.sparsity)};
  drop_kept_zeros(task, result.mask);
  apply(result.mask, result.weights);
  return result;
}

}  // namespace prune::layer
