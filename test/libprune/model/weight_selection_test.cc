#include "libprune/model/weight_selection.h"

#include "test/libprune/model/checkpoints.h"

namespace prune {
namespace {

using testing::refusal;
using testing::TempFolder;

constexpr const char* kUp = "model.layers.0.mlp.up_proj.weight";
constexpr const char* kHead = "lm_head.weight";

TensorInfo tensor(std::string name, std::vector<int64_t> shape = {64, 32}, DType dtype = DType::kBF16) {
  TensorInfo info;
  info.name = std::move(name);
  info.shape = std::move(shape);
  info.dtype = dtype;
  return info;
}

class WeightSelectionTest : public ::testing::Test {
 protected:
  WeightSelection selection(const std::vector<std::string>& include, const std::vector<std::string>& exclude,
                            const std::string& model_type = "llama") {
    testing::write_model(folder_.path(), model_type, {});
    return WeightSelection(Checkpoint(folder_.path()), include, exclude);
  }
  // Why a tensor is not chosen; "" for one that is.
  std::string reason(const TensorInfo& info, const std::vector<std::string>& include = {},
                     const std::vector<std::string>& exclude = {}) {
    const WeightSelection::Choice choice = selection(include, exclude).choose(info);
    EXPECT_EQ(choice.chosen, choice.reason.empty());
    return choice.reason;
  }

  TempFolder folder_;
};

TEST_F(WeightSelectionTest, TheArchitectureDecides) {
  EXPECT_EQ(reason(tensor(kUp)), "");
  EXPECT_EQ(reason(tensor(kHead)), "outside the decoder blocks");
  EXPECT_EQ(reason(tensor("model.layers.0.input_layernorm.weight", {32})), "not a linear layer");
  EXPECT_EQ(reason(tensor(kUp, {64, 32}, DType::kI32)), "type I32 is copied");
  EXPECT_EQ(reason(tensor(kUp, {0, 32})), "no elements");
}

TEST_F(WeightSelectionTest, IncludeDecidesInItsPlace) {
  EXPECT_EQ(reason(tensor(kHead), {"lm_head"}), "");
  EXPECT_EQ(reason(tensor(kUp), {"lm_head"}), "not included");
  EXPECT_EQ(reason(tensor("model.norm.weight", {32}), {"*norm*"}), "included, but not a matrix");
  EXPECT_EQ(reason(tensor(kHead, {8, 8}, DType::kU8), {"*"}), "included, but type U8 is copied");
}

TEST_F(WeightSelectionTest, ExcludeTakesAway) {
  EXPECT_EQ(reason(tensor(kUp), {}, {"*up_proj"}), "excluded");
  EXPECT_EQ(reason(tensor(kHead), {"*"}, {"re:lm_.*"}), "excluded");
  // What would not be chosen anyhow keeps its own reason.
  EXPECT_EQ(reason(tensor(kHead), {}, {"*"}), "outside the decoder blocks");
}

TEST_F(WeightSelectionTest, KnowsWhichWayRoundAWeightLies) {
  const TensorInfo conv = tensor("transformer.h.0.mlp.c_fc.weight");
  EXPECT_EQ(selection({}, {}, "gpt2").choose(conv).orientation, Orientation::kInOut);
  EXPECT_EQ(selection({"*c_fc*"}, {}, "gpt2").choose(conv).orientation, Orientation::kInOut);
  EXPECT_EQ(selection({"*wte*"}, {}, "gpt2").choose(tensor("transformer.wte.weight")).orientation,
            Orientation::kOutIn);
  EXPECT_EQ(selection({}, {}).choose(tensor(kUp)).orientation, Orientation::kOutIn);
}

TEST_F(WeightSelectionTest, RefusesAnExpressionThatDoesNotParse) {
  EXPECT_EQ(refusal(ErrorKind::kUsage, "not a regular expression", [&] { selection({"re:("}, {}); }), "");
  EXPECT_EQ(refusal(ErrorKind::kUsage, "not a regular expression", [&] { selection({}, {"re:["}); }), "");
}

}  // namespace
}  // namespace prune
