#include <prune/report.h>

#include <gtest/gtest.h>

namespace prune {
namespace {

TEST(Report, SumsOverPrunedTensorsAlone) {
  PruneReport report;
  EXPECT_EQ(report.achieved_sparsity(), 0.0);
  TensorReport pruned;
  pruned.shape = {4, 6};
  pruned.pruned = true;
  pruned.zeros_after = 12;
  TensorReport other = pruned;
  other.shape = {2, 4};
  other.zeros_after = 2;
  TensorReport copied;
  copied.shape = {100};
  copied.zeros_after = 50;
  report.tensors = {pruned, copied, other};
  EXPECT_EQ(pruned.numel(), 24);
  EXPECT_EQ(report.pruned_weights(), 32);
  EXPECT_EQ(report.zeros_after(), 14);
  EXPECT_DOUBLE_EQ(report.achieved_sparsity(), 14.0 / 32);
  EXPECT_EQ(TensorReport{}.numel(), 1);  // rank 0
}

}  // namespace
}  // namespace prune
