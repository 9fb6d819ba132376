// Output projections, the layers that add what heads or channels give to the hidden state: which of their
// inputs stay, and their weights on these.
#pragma once

#include <cstdint>
#include <optional>

#include <prune/matrix.h>

#include "libprune/model/calibrated/input_moments.h"
#include "libprune/model/decoder/linear.h"
#include "libprune/model/structured/cut.h"
#include "libprune/model/structured/structured_options.h"

namespace prune {

// Second moments of a projection's inputs X, with those of a correction E of its outputs: what should be
// added to X W^T.
class ProjectionMoments {
 public:
  // Where the projection has a bias, the moments are of [X, 1], so that the bias can carry the mean.
  ProjectionMoments(const Linear& projection, bool is_corrected);

  // G += [X, 1]^T [X, 1],  C += E^T [X, 1] for X [n, in], E [n, out], both contiguous. E is null where
  // nothing is corrected. Each token counts `weights[i]` squared; null: 1.
  void add(const float* x, const float* correction, int64_t n, const float* weights = nullptr);
  // Once after the last add(). Throws as InputMoments::finish().
  void finish() { moments_.finish(); }

  Index fixed() const { return fixed_; }  // columns of 1 at the end
  int64_t tokens() const { return moments_.tokens(); }
  ConstView<float> gram() const { return moments_.gram(); }
  // C; empty where nothing is corrected.
  const Matrix<float>& correction() const { return correction_; }

 private:
  Index inputs_;
  Index fixed_;
  InputMoments moments_;
  Matrix<float> correction_;  // [out, inputs + fixed]
  Matrix<float> extended_, weighted_;
};

struct ProjectionTask {
  const StructuredMethod& method;
  int64_t group = 1;  // inputs that go as one
  int64_t keep = 0;   // groups that stay
  double damping = 1e-3;
  double follow = 0;  // the share of the correction that is aimed at
};

// The groups that stay, by the method's score.
Units choose_groups(const Linear& projection, const ProjectionMoments& moments, const ProjectionTask& task);

// Least squares on `columns`: weight becomes [out, columns], bias changes where there is one.
void refit(Linear& projection, const ProjectionMoments& moments, const Units& columns,
           const ProjectionTask& task);

// Least squares on all inputs for outputs with moments B = W `wanted` [in, in] with them:
//
//   W' = W + (B - W G) (G + damping mean(diag G) I)^-1.  The bias stays.
void refit_reader(Linear& reader, const ConstView<float>& gram, const Matrix<float>& wanted, double damping);

// The relative squared error of the outputs on the same inputs, of the projection that is left.
double projection_error(const Linear& dense, const Linear& left, const Units& columns,
                        const ProjectionMoments& moments);

}  // namespace prune
