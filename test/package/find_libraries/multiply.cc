// Prunes, packs and multiplies with the installed headers and the installed kernels.
#include <prune/prune.h>

#include "kernels/sparse/plan.h"

namespace {

constexpr prune::Index kOut = 48;
constexpr prune::Index kIn = 64;
constexpr prune::Index kTokens = 5;

prune::kernels::Plan prepare(const prune::NmPacked<float>& packed) {
  prune::kernels::NmWeights weights;
  weights.rows = packed.rows;
  weights.cols = packed.cols;
  weights.values = packed.values.data();
  weights.indices = packed.indices.data();
  return prune::kernels::prepare(weights);
}

}  // namespace

int main() {
  prune::Matrix<float> w = prune::Matrix<float>::Random(kOut, kIn);
  const prune::Matrix<float> x = prune::Matrix<float>::Random(kTokens, kIn);
  prune::apply(prune::select_magnitude(w, prune::NM{2, 4}, 0.5), w);

  prune::Matrix<float> y(kTokens, kOut);
  prepare(prune::pack_nm(w, {2, 4}))
      .run({.x = x.data(), .ldx = kIn, .y = y.data(), .ldy = kOut, .n = kTokens});
  const prune::Matrix<float> expected = x * w.transpose();
  return y.isApprox(expected, 1e-5f) ? 0 : 1;
}
