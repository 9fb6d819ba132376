#include "libprune/model/prune_plan.h"

#include <algorithm>
#include <string>

#include "test/libprune/model/checkpoints.h"

namespace prune {
namespace {

using testing::refusal;
using testing::TempFolder;
using testing::tensor_of;

constexpr const char* kUpProjection = "model.layers.0.mlp.up_proj.weight";
constexpr const char* kDownProjection = "model.layers.0.mlp.down_proj.weight";
constexpr const char* kOdd = "model.layers.1.mlp.up_proj.weight";
constexpr const char* kHead = "lm_head.weight";

Matrix<float> zeros(Index rows, Index cols) { return Matrix<float>::Zero(rows, cols); }

class PrunePlanTest : public ::testing::Test {
 protected:
  PrunePlanTest() {
    testing::write_model(folder_.path(), "llama",
                         {tensor_of(kUpProjection, zeros(16, 32)),
                          tensor_of(kDownProjection, zeros(32, 16)),
                          tensor_of(kHead, zeros(8, 32)),
                          testing::list_of<float>("model.norm.weight", std::vector<float>(32)),
                          testing::list_of<int64_t>("model.layers.0.ids.weight", {1, 2}),
                          {"model.layers.7.mlp.up_proj.weight", "F32", {0, 32}, ""}});
  }
  // The same with a matrix that takes no 2:4.
  void add_odd() {
    testing::write_model(folder_.path(), "llama",
                         {tensor_of(kUpProjection, zeros(16, 32)), tensor_of(kOdd, zeros(4, 30))});
  }

  PrunePlan plan(const PruneOptions& options) { return plan_pruning(Checkpoint(folder_.path()), options); }
  // Names of the tensors that a plan prunes.
  std::vector<std::string> pruned(const PruneOptions& options) {
    const Checkpoint checkpoint(folder_.path());
    std::vector<std::string> names;
    for (const PlannedTensor& t : plan_pruning(checkpoint, options).tensors) {
      if (t.prune) names.push_back(checkpoint.tensor(t.ref).name);
    }
    return names;
  }
  std::string refused(ErrorKind kind, const std::string& text, const PruneOptions& options) {
    return refusal(kind, text, [&] { plan(options); });
  }

  TempFolder folder_;
};

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST_F(PrunePlanTest, DefaultsToTheArchitecture) {
  const PrunePlan made = plan({});
  EXPECT_EQ(made.sparsity, 0.5);
  EXPECT_EQ(made.tensors.size(), 6u);
  EXPECT_EQ(made.matrices(), 2);
  EXPECT_EQ(made.weights(), 2 * 16 * 32);
  EXPECT_TRUE(made.notes.empty());
  EXPECT_THAT(pruned({}), ElementsAre(kUpProjection, kDownProjection));
  for (const PlannedTensor& t : made.tensors) EXPECT_EQ(t.prune, t.reason.empty());
  EXPECT_EQ(made.tensors[0].out, 16);
  EXPECT_EQ(made.tensors[0].in, 32);
}

TEST_F(PrunePlanTest, IncludeOverridesTheArchitecture) {
  EXPECT_THAT(pruned({.include = {"lm_head"}}), ElementsAre(kHead));
  EXPECT_THAT(pruned({.include = {"*"}}),
              ElementsAre(kUpProjection, kDownProjection, kHead));  // matrices of floats alone
  EXPECT_THAT(pruned({.include = {R"(re:.*\.mlp\.down_proj)"}}), ElementsAre(kDownProjection));
}

TEST_F(PrunePlanTest, ExcludeWins) {
  EXPECT_THAT(pruned({.exclude = {"*up_proj*"}}), ElementsAre(kDownProjection));
  EXPECT_THAT(pruned({.include = {"*"}, .exclude = {"lm_head", "*down*"}}), ElementsAre(kUpProjection));
}

TEST_F(PrunePlanTest, RefusesToPruneNothing) {
  EXPECT_EQ(refused(ErrorKind::kInput, "leave no weight matrix", {.include = {"nothing"}}), "");
  EXPECT_EQ(
      refused(ErrorKind::kInput, "leave no weight matrix", {.include = {"*up_proj*"}, .exclude = {"*"}}), "");
  EXPECT_EQ(refused(ErrorKind::kInput, "no weight matrix", {.exclude = {"*"}}), "");
  testing::write_model(folder_.path(), "llama", {tensor_of(kHead, zeros(8, 32))});
  EXPECT_EQ(refused(ErrorKind::kInput, folder_.path().native() + ": holds no weight matrix to prune", {}),
            "");
}

TEST_F(PrunePlanTest, RefusesOptionsThatCannotBeMeant) {
  EXPECT_EQ(refused(ErrorKind::kUsage, "expected one of magnitude", {.method = "magic"}), "");
  EXPECT_EQ(
      refused(ErrorKind::kUsage, "scope has no meaning for N:M", {.pattern = NM{2, 4}, .scope = Scope::kRow}),
      "");
  EXPECT_EQ(refused(ErrorKind::kUsage, "scope has no meaning for N:M",
                    {.pattern = NM{2, 4}, .scope = Scope::kGlobal}),
            "");
  EXPECT_EQ(refused(ErrorKind::kUsage, "needs a sparsity", {.pattern = Unstructured{}}), "");
  EXPECT_EQ(refused(ErrorKind::kUsage, "means sparsity 0.5", {.pattern = NM{2, 4}, .sparsity = 0.7}), "");
  EXPECT_EQ(
      refused(ErrorKind::kUsage, "expected 0 <= sparsity < 1", {.pattern = Unstructured{}, .sparsity = 1.0}),
      "");
  EXPECT_EQ(refused(ErrorKind::kUsage, "not a regular expression", {.include = {"re:("}}), "");
}

TEST_F(PrunePlanTest, RefusesATensorThatDoesNotFitByName) {
  add_odd();
  const std::string place =
      std::string("model.safetensors: tensor '") + kOdd + "' can't take pattern 2:4: 30 columns";
  EXPECT_EQ(refused(ErrorKind::kInput, place, {}), "");
  EXPECT_EQ(refused(ErrorKind::kInput, "--skip-unfit", {}), "");
  EXPECT_EQ(refused(ErrorKind::kInput, "4 rows are not a multiple of 16",
                    {.pattern = Block{16, 2}, .sparsity = 0.5}),
            "");
  EXPECT_THAT(pruned({.pattern = NM{1, 2}}), ElementsAre(kUpProjection, kOdd));
  EXPECT_THAT(pruned({.exclude = {"*.1.*"}}), ElementsAre(kUpProjection));
}

TEST_F(PrunePlanTest, SkipUnfitLeavesItDense) {
  add_odd();
  const PrunePlan made = plan({.skip_unfit = true});
  EXPECT_EQ(made.matrices(), 1);
  EXPECT_EQ(made.weights(), 16 * 32);
  ASSERT_EQ(made.notes.size(), 1u);
  EXPECT_THAT(made.notes[0], HasSubstr("1 tensors do not fit pattern 2:4"));
  EXPECT_THAT(made.tensors[1].reason, HasSubstr("30 columns"));
  EXPECT_EQ(
      refused(ErrorKind::kInput, "no weight matrix to prune", {.pattern = NM{3, 7}, .skip_unfit = true}), "");
}

TEST_F(PrunePlanTest, Conv1DIsPlannedOutByIn) {
  testing::write_model(
      folder_.path(), "gpt2",
      {tensor_of("h.0.attn.c_attn.weight", zeros(16, 30)), tensor_of("wte.weight", zeros(30, 16))});
  const PrunePlan made = plan({});  // 2:4 runs down the 16, not along the 30
  EXPECT_EQ(made.matrices(), 1);
  EXPECT_EQ(made.tensors[0].orientation, Orientation::kInOut);
  EXPECT_EQ(made.tensors[0].out, 30);
  EXPECT_EQ(made.tensors[0].in, 16);
  EXPECT_EQ(refused(ErrorKind::kInput, "30 rows are not a multiple of 16",
                    {.pattern = Block{16, 16}, .sparsity = 0.5}),
            "");
}

TEST_F(PrunePlanTest, UnknownArchitecturesAreNoted) {
  testing::write_model(folder_.path(), "no\\u001bsuch",
                       {tensor_of("dense.weight", zeros(4, 8)), tensor_of(kHead, zeros(4, 8))});
  const PrunePlan made = plan({});
  EXPECT_EQ(made.matrices(), 1);
  ASSERT_EQ(made.notes.size(), 1u);
  EXPECT_THAT(made.notes[0], HasSubstr(R"(model_type 'no\x1bsuch' is not known)"));
  EXPECT_THAT(made.notes[0], HasSubstr("llama, mistral"));
  EXPECT_TRUE(plan({.include = {"dense"}}).notes.empty());
}

TEST_F(PrunePlanTest, TensorsComeInTheOrderOfTheirData) {
  testing::write_file(
      folder_ / "model.safetensors",
      testing::safetensors(R"({"b.weight":{"dtype":"F32","shape":[1,4],"data_offsets":[16,32]},)"
                           R"("a.weight":{"dtype":"F32","shape":[1,4],"data_offsets":[0,16]}})",
                           std::string(32, '\0')));
  EXPECT_THAT(pruned({.include = {"*"}}), ElementsAre("a.weight", "b.weight"));
}

}  // namespace
}  // namespace prune
