#include <prune/update/sparsegpt.h>

#include "libprune/model/calibrated/layer_method.h"
#include "libprune/model/quantized_values.h"

namespace prune {
namespace {

// Inputs that were always 0 say nothing of their weights, which SparseGPT would clear.
void round_to_nearest(const LayerTask& task, const ScaleGrid& scales, Matrix<float>& weights) {
  for (Index j = 0; j < weights.cols(); ++j) {
    if (task.gram(j, j) != 0) continue;
    for (Index i = 0; i < weights.rows(); ++i)
      weights(i, j) = scales.at(i, j) * float(to_int8(task.dense(i, j), scales.at(i, j)));
  }
}

LayerResult round_to_int8(const LayerTask& task) {
  LayerResult result{.weights = task.dense, .mask = nonzero_mask(task.dense)};
  const ScaleGrid scales = find_scales(task.dense, task.scale_group);
  update::SparsegptOptions options;
  options.damping = task.damping;
  options.rounding = {scales.values.data(), scales.per_row, task.scale_group, kLargestInt8};
  const update::SparsegptResult swept = update::sparsegpt(result.weights, task.gram, result.mask, options);
  round_to_nearest(task, scales, result.weights);
  result.damping = swept.damping;
  result.retries = swept.retries;
  return result;
}

}  // namespace

const LayerMethod& rounding_method() {
  static constexpr LayerMethod kRounding{"rounding", "weights as int8, later ones make up for it.",
                                         round_to_int8, 0.01};
  return kRounding;
}

}  // namespace prune
