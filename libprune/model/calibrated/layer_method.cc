#include "libprune/model/calibrated/layer_method.h"

#include <algorithm>

namespace prune {

std::span<const LayerMethod> layer_methods() {
  static constexpr LayerMethod kMethods[] = {
      {"wanda", "|w| times the size of its input, per row. The fastest with data.", layer::wanda, 0, false,
       Scope::kRow},
      {"ria", "shares of row and column times the size of its input.", layer::ria},
      {"sparsegpt", "column by column, later weights make up for pruned ones.", layer::sparsegpt, 0.01},
      {"refit", "wanda's mask, then least squares over the weights that stay.", layer::refit, 1e-3, true},
      {"swap", "refit, then exchanges of kept and pruned weights while the error falls.", layer::swap, 1e-3,
       true, Scope::kRow, false},
      {"admm", "mask and weights found together, then least squares.", layer::admm, 1e-3, true},
      {"best", "admm, then each decoder layer is trained to give what the dense one gave. Slow.", layer::admm,
       1e-3, true, Scope::kLayer, true, true},
  };
  return kMethods;
}

const LayerMethod* find_layer_method(std::string_view name) {
  const auto methods = layer_methods();
  const auto found = std::ranges::find(methods, name, &LayerMethod::name);
  return found == methods.end() ? nullptr : &*found;
}

namespace layer {

void drop_kept_zeros(const LayerTask& task, Mask& mask) {
  if (!task.keep_zeros) return;
  const Mask nonzero = nonzero_mask(task.dense);
  for (Index i = 0; i < mask.rows(); ++i) {
    for (size_t word = 0; word < mask.row(i).size(); ++word) mask.row(i)[word] &= nonzero.row(i)[word];
  }
}

}  // namespace layer
}  // namespace prune
