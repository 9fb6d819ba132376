#include <prune/rewind.h>

#include "test/libprune/include/reference_select.h"

namespace prune {
namespace {

using testing::refusal;
using testing::same_mask;

TEST(Rewinding, EachRoundPrunesTheSameShareOfWhatIsLeft) {
  EXPECT_EQ(rewinding_sparsity(0.9, 0, 3), 0);
  EXPECT_DOUBLE_EQ(rewinding_sparsity(0.875, 1, 3), 0.5);
  EXPECT_DOUBLE_EQ(rewinding_sparsity(0.875, 2, 3), 0.75);
  EXPECT_EQ(rewinding_sparsity(0.9, 3, 3), 0.9);
  EXPECT_EQ(refusal(ErrorKind::kUsage, "round 4 of 3", [] { rewinding_sparsity(0.5, 4, 3); }), "");
}

TEST(Rewinding, GoesBackToTheEarlyWeights) {
  const Matrix<float> early{{1, -2, 3, -4}, {5, 6, -7, 8}};
  Rewinding rewinding(early);
  EXPECT_EQ(rewinding.mask().count(), 8);
  Matrix<float> w{{9, 1, -8, 2}, {3, -7, 4, 6}};  // trained
  rewinding.prune(w, Unstructured{}, 0.5);
  EXPECT_EQ(w, (Matrix<float>{{1, 0, 3, 0}, {0, 6, 0, 8}}));
  EXPECT_TRUE(same_mask(rewinding.mask(), nonzero_mask(w)));
  w = Matrix<float>{{-1, 0, 5, 0}, {0, 9, 0, 4}};  // trained again
  rewinding.prune(w, Unstructured{}, 0.75);
  EXPECT_EQ(w, (Matrix<float>{{0, 0, 3, 0}, {0, 6, 0, 0}}));
}

// Weights that stay and are trained to 0 tie with those that went; those in lower columns would come back.
TEST(Rewinding, NothingComesBack) {
  const Matrix<float> early = Matrix<float>::Constant(2, 4, 5);
  for (const Pattern& pattern : {Pattern(Unstructured{}), Pattern(NM{2, 4}), Pattern(Block{1, 2})}) {
    Rewinding rewinding(early);
    Matrix<float> w{{1, 1, 2, 2}, {2, 2, 1, 1}};
    rewinding.prune(w, pattern, 0.5);
    const Mask first = rewinding.mask();
    EXPECT_EQ(w, (Matrix<float>{{0, 0, 5, 5}, {5, 5, 0, 0}}));
    w.setZero();
    w(0, 0) = w(1, 2) = 9;  // not masked by whoever trained
    rewinding.prune(w, pattern, 0.5);
    EXPECT_TRUE(same_mask(rewinding.mask(), first)) << to_string(pattern);
    if (std::holds_alternative<NM>(pattern)) continue;
    rewinding.prune(w, pattern, 0.25);  // fewer than are pruned already
    EXPECT_TRUE(same_mask(rewinding.mask(), first)) << to_string(pattern);
  }
}

TEST(Rewinding, RefusesWhatDoesNotFit) {
  Matrix<float> w = Matrix<float>::Ones(2, 4);
  Rewinding rewinding(w);
  Matrix<float> other = Matrix<float>::Ones(2, 3);
  EXPECT_EQ(refusal(ErrorKind::kUsage, "another shape", [&] { rewinding.prune(other, Unstructured{}, 0.5); }),
            "");
  w(1, 1) = NAN;
  EXPECT_EQ(refusal(ErrorKind::kInput, "row 1, column 1", [&] { rewinding.prune(w, NM{2, 4}, 0.5); }), "");
  EXPECT_EQ(rewinding.mask().count(), 8);
  w(1, 1) = 0;
  rewinding.prune(w, NM{1, 4}, 0.75);
  EXPECT_EQ(refusal(ErrorKind::kUsage, "not of whole blocks",
                    [&] {
                      rewinding.prune(w, Block{2, 2}, 0.5);
                    }),
            "");
}

}  // namespace
}  // namespace prune
