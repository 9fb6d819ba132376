#include <prune/update/admm.h>
#include <prune/update/obs_blocks.h>

#include "libprune/model/calibrated/layer_method.h"

namespace prune::layer {
namespace {

// Above, a mask of blocks by second order takes minutes a layer.
constexpr double kMostBandOperations = 1e12;

bool removes_blocks_one_by_one(const LayerTask& task) {
  const Block* block = std::get_if<Block>(&task.pattern);
  if (block == nullptr) return false;
  const double in = double(task.dense.cols());
  return double(task.dense.rows()) / block->rows * in * in * in * 2 / 3 <= kMostBandOperations;
}

}  // namespace

LayerResult admm(const LayerTask& task) {
  LayerResult result{.weights = task.dense, .mask = {}};
  const LayerTarget target{task.dense, task.rhs, 0};
  if (removes_blocks_one_by_one(task)) {
    result.mask =
        update::obs_blocks(task.gram, target, std::get<Block>(task.pattern), task.sparsity, task.damping);
  } else {
    update::AdmmOptions options;
    options.damping = task.damping;
    options.keep_zeros = task.keep_zeros;
    result.mask = update::admm(view(result.weights.data(), result.weights.rows(), result.weights.cols()),
                               task.gram, target, task.pattern, task.sparsity, options)
                      .mask;
  }
  drop_kept_zeros(task, result.mask);
  finish_by_refit(task, result);
  return result;
}

}  // namespace prune::layer
