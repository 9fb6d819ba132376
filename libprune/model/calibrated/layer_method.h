// Pruning one weight matrix when the inputs that it sees are known: what the calibrated methods are made of.
#pragma once

#include <optional>
#include <span>
#include <string_view>

#include <prune/mask.h>
#include <prune/matrix.h>
#include <prune/pattern.h>

#include "libprune/model/scale_grid.h"

namespace prune {

struct LayerTask {
  ConstView<float> dense;  // W [out, in]
  ConstView<float> gram;   // G = X^T X [in, in] of the inputs X [tokens, in]; full and symmetric
  // B = Y^T X [out, in] of the outputs Y that are wanted; absent: those of W on X, B = W G.
  std::optional<ConstView<float>> rhs = {};
  Pattern pattern = NM{2, 4};
  double sparsity = 0.5;
  double damping = 0;       // added to G's diagonal, as a share of its mean
  bool keep_zeros = false;  // weights of W that are 0 stay 0, and count as pruned
  Index scale_group = 0;    // of rounding to int8: see ScaleGrid
};

struct LayerResult {
  Matrix<float> weights;  // W' [out, in], +0 where pruned
  Mask mask;
  double damping = 0;     // the one that worked; 0 where the method has none
  int retries = 0;        // with ten times the damping each
  ScaleGrid scales = {};  // of rounded weights
};

struct LayerMethod {
  std::string_view name;
  std::string_view summary;
  LayerResult (*run)(const LayerTask&);
  double damping = 0;           // where the user gives none; 0: the method takes none
  bool follows_dense = false;   // is better off with a right-hand side, see DenseFollowing
  Scope scope = Scope::kLayer;  // over what unstructured patterns share the sparsity
  bool takes_blocks = true;
  bool reconstructs = false;  // trains each decoder layer afterwards, see reconstruct_layers()
};

// A method is a file <name>.cc beside this one, a declaration below, and a line in layer_method.cc.
std::span<const LayerMethod> layer_methods();
// The weights of W that are not 0 become int8 times scales, column after column, and later weights make up
// for the rounding of earlier ones. With a sparsity of 0 zeros stay, and the scales are those of W; with
// another one SparseGPT prunes first, the scales are those of its weights, and later ones make up for both.
const LayerMethod& rounding_method();
// Null where the name is of no calibrated method.
const LayerMethod* find_layer_method(std::string_view name);

// All throw Error(kInput) for NaN and infinity, and where a Gram matrix can't be worked with whatever the
// damping; Error(kUsage) for shapes, patterns and sparsities that don't fit each other.
namespace layer {
LayerResult wanda(const LayerTask& task);      // |w| |x|, per row; weights that stay are not changed
LayerResult ria(const LayerTask& task);        // shares of row and column times |x|^1/2
LayerResult sparsegpt(const LayerTask& task);  // column after column
LayerResult refit(const LayerTask& task);      // Wanda's mask, then least squares
LayerResult swap(const LayerTask& task);       // the same, then exchanges while the error falls
LayerResult admm(const LayerTask& task);       // mask and weights together, then least squares

// Wanda's mask, without the weights that must stay 0.
Mask wanda_mask(const LayerTask& task);
// Takes from the mask the weights that must stay 0.
void drop_kept_zeros(const LayerTask& task, Mask& mask);
// Least squares of result.weights under result.mask.
void finish_by_refit(const LayerTask& task, LayerResult& result);
}  // namespace layer

}  // namespace prune
