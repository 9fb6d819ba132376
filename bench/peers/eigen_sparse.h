// Eigen's sparse product, as a user of Eigen would write it.
#pragma once

#include <memory>

#include "kernels/sparse/plan.h"
#include "kernels/sparse/weights.h"

namespace prune::bench {

class EigenSparse {
 public:
  explicit EigenSparse(const kernels::CsrWeights& weights);  // float weights
  ~EigenSparse();
  size_t bytes() const;
  void run(const kernels::Batch& batch) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace prune::bench
