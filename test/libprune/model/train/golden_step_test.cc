// Training steps against those of PyTorch; test/golden/training_step/make.py made the numbers.
#include <cmath>

#include <gtest/gtest.h>
#include <prune/prune.h>

#include "libprune/io/checkpoint.h"
#include "libprune/model/train/trainer.h"
#include "test/libprune/model/decoder/models.h"

namespace prune {
namespace {

class GoldenStepTest : public ::testing::TestWithParam<std::string> {
 protected:
  static std::filesystem::path folder() { return testing::source_folder() / "test/golden/training_step"; }

  GoldenStepTest() {
    for (DecoderLayer& layer : student_.layers) {
      for (Linear* linear : layer.linears()) {
        View<float> w = view(linear->weight.data(), linear->out, linear->in);
        apply(select_magnitude(w, NM{2, 4}, 0.5), w);
      }
    }
  }

  testing::Golden golden_{folder() / "expected.safetensors"};
  Checkpoint checkpoint_{folder()};
  Decoder decoder_{checkpoint_};
  TrainableModel student_{decoder_}, teacher_{decoder_};
};

TEST_P(GoldenStepTest, IsThatOfPyTorch) {
  const bool distils = GetParam() == "teacher";
  const TrainingOptions options{.steps = 3,
                                .batch = golden_.sequences,
                                .seqlen = golden_.length,
                                .warm_up = 0,
                                .learning_rate = 1e-2,
                                .decay = Decay::kNone,
                                .weight_decay = 0.1,
                                .clip = 0.5,
                                .distillation = 0.7,
                                .temperature = 2};
  Trainer trainer(student_, distils ? &teacher_ : nullptr, fixed_masking(), golden_.ids, options);
  const auto losses = golden_.values<double>(GetParam() + "/losses");
  const auto norms = golden_.values<double>(GetParam() + "/gradient_norms");
  for (size_t i = 0; i < losses.size(); ++i) {
    const TrainingStep step = trainer.step();
    EXPECT_NEAR(step.loss, losses[i], 1e-5 * losses[i]);
    EXPECT_NEAR(step.gradient_norm, norms[i], 1e-5 * norms[i]);
  }
  ModelGradients layout(student_);
  for (const Parameter& parameter : parameters(student_, layout)) {
    const auto expected = golden_.values<float>(GetParam() + "/" + parameter.name);
    ASSERT_EQ(parameter.values.size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i)
      EXPECT_NEAR(parameter.values[i], expected[i], 1e-5) << parameter.name << " " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Losses, GoldenStepTest, ::testing::Values("text", "teacher"),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace prune
