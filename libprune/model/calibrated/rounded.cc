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

update::SparsegptOptions sweep_options(const LayerTask& task) {
  update::SparsegptOptions options;
  options.damping = task.damping;
  return options;
}

// The weights that the mask keeps, as multiples of the scales; those that go and what rounding takes are made
// up for by later ones.
LayerResult round_under_mask(const LayerTask& task, Mask mask, ScaleGrid scales) {
  LayerResult result{.weights = task.dense, .mask = std::move(mask)};
  update::SparsegptOptions options = sweep_options(task);
  options.rounding = {scales.values.data(), scales.per_row, task.scale_group, kLargestInt8};
  const update::SparsegptResult swept = update::sparsegpt(result.weights, task.gram, result.mask, options);
  result.damping = swept.damping;
  result.retries = swept.retries;
  result.scales = std::move(scales);
  return result;
}

// The first sweep finds the mask, and how large weights become that make up for others: their scales must
// reach as far. The second starts anew and makes up for pruning and rounding together.
LayerResult prune_and_round(const LayerTask& task) {
  Matrix<float> pruned = task.dense;
  update::SparsegptResult swept =
      update::sparsegpt(pruned, task.gram, task.pattern, task.sparsity, sweep_options(task));
  return round_under_mask(task, std::move(swept.mask),
                          find_scales(ConstView<float>(view(pruned)), task.scale_group));
}

LayerResult round_to_int8(const LayerTask& task) {
  if (task.sparsity > 0) return prune_and_round(task);
  LayerResult result =
      round_under_mask(task, nonzero_mask(task.dense), find_scales(task.dense, task.scale_group));
  round_to_nearest(task, result.scales, result.weights);
  return result;
}

}  // namespace

const LayerMethod& rounding_method() {
  static constexpr LayerMethod kRounding{"rounding", "weights as int8, later ones make up for it.",
                                         round_to_int8, 0.01};
  return kRounding;
}

}  // namespace prune
