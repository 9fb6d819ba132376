#include "libprune/model/report_json.h"

#include "test/libprune/model/checkpoints.h"

namespace prune {
namespace {

TensorReport pruned_tensor() {
  TensorReport t;
  t.name = "a.weight";
  t.dtype = "BF16";
  t.shape = {4, 8};
  t.transposed = true;
  t.pruned = true;
  t.zeros_before = 3;
  t.zeros_after = 16;
  t.seconds = 0.25;
  return t;
}

TensorReport copied_tensor() {
  TensorReport t;
  t.name = "b";
  t.dtype = "I64";
  t.reason = "not a weight";
  return t;
}

// What a run that resumes takes over must be what the first one noted.
TEST(ReportJson, TensorReportsRoundTrip) {
  const std::vector<TensorReport> reports = {pruned_tensor(), copied_tensor()};
  const std::vector<TensorReport> again =
      tensor_reports_from_json(nlohmann::json::parse(to_json(reports).dump()));
  ASSERT_EQ(again.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(again[i].name, reports[i].name);
    EXPECT_EQ(again[i].dtype, reports[i].dtype);
    EXPECT_EQ(again[i].shape, reports[i].shape);
    EXPECT_EQ(again[i].transposed, reports[i].transposed);
    EXPECT_EQ(again[i].pruned, reports[i].pruned);
    EXPECT_EQ(again[i].reason, reports[i].reason);
    EXPECT_EQ(again[i].zeros_before, reports[i].zeros_before);
    EXPECT_EQ(again[i].zeros_after, reports[i].zeros_after);
    EXPECT_EQ(again[i].seconds, reports[i].seconds);
  }
}

TEST(ReportJson, Report) {
  PruneReport report;
  report.model = "in";
  report.output = "out";
  report.method = "magnitude";
  report.pattern = "2:4";
  report.sparsity = 0.5;
  report.scope = "group";
  report.tensors = {pruned_tensor(), copied_tensor()};
  report.bytes_written = 99;
  const nlohmann::json json = to_json(report);
  EXPECT_EQ(json.at("model"), "in");
  EXPECT_EQ(json.at("output"), "out");
  EXPECT_EQ(json.at("method"), "magnitude");
  EXPECT_EQ(json.at("pattern"), "2:4");
  EXPECT_EQ(json.at("scope"), "group");
  EXPECT_EQ(json.at("sparsity"), (nlohmann::json{{"wanted", 0.5}, {"achieved", 0.5}}));
  EXPECT_EQ(json.at("weights"), 32);
  EXPECT_EQ(json.at("zeros"), 16);
  EXPECT_EQ(json.at("bytes_written"), 99);
  EXPECT_EQ(json.at("tensors").at(0).at("sparsity"), 0.5);
  EXPECT_EQ(json.at("tensors").at(1).at("reason"), "not a weight");
}

TEST(ReportJson, EmptyTensorsHaveNoSparsity) {
  TensorReport empty = pruned_tensor();
  empty.shape = {0, 8};
  EXPECT_EQ(to_json(std::vector{empty}).at(0).at("sparsity"), 0.0);
}

// The options that decide the result are in the job; the number of threads is not.
TEST(ReportJson, Options) {
  const PruneOptions base = {.pattern = Unstructured{}, .sparsity = 0.5};
  const nlohmann::json json = to_json(base);
  const auto changed = [&](auto change) {
    PruneOptions other = base;
    change(other);
    return to_json(other) != json;
  };
  EXPECT_TRUE(changed([](PruneOptions& o) { o.method = "other"; }));
  EXPECT_TRUE(changed([](PruneOptions& o) { o.pattern = Block{4, 4}; }));
  EXPECT_TRUE(changed([](PruneOptions& o) { o.sparsity = 0.6; }));
  EXPECT_TRUE(changed([](PruneOptions& o) { o.scope = Scope::kRow; }));
  EXPECT_TRUE(changed([](PruneOptions& o) { o.block_norm = BlockNorm::kL1; }));
  EXPECT_TRUE(changed([](PruneOptions& o) { o.include = {"a"}; }));
  EXPECT_TRUE(changed([](PruneOptions& o) { o.exclude = {"a"}; }));
  EXPECT_TRUE(changed([](PruneOptions& o) { o.skip_unfit = true; }));
  EXPECT_FALSE(changed([](PruneOptions& o) { o.threads = 7; }));
  EXPECT_EQ(to_json(PruneOptions{}).at("sparsity"), 0.5);  // resolved where the pattern decides it
}

TEST(ReportJson, Spellings) {
  EXPECT_EQ(to_string(Scope::kRow), "row");
  EXPECT_EQ(to_string(Scope::kLayer), "layer");
  EXPECT_EQ(to_string(Scope::kGlobal), "global");
  EXPECT_EQ(to_string(BlockNorm::kL1), "l1");
  EXPECT_EQ(to_string(BlockNorm::kL2), "l2");
}

}  // namespace
}  // namespace prune
