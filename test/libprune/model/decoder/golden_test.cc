// Hidden states and logits against those of Hugging Face transformers.
#include <algorithm>
#include <cmath>

#include <gmock/gmock.h>

#include "libprune/model/decoder/decoder.h"
#include "libprune/model/decoder/forward.h"
#include "libprune/model/decoder/head.h"
#include "test/libprune/model/decoder/models.h"

namespace prune {
namespace {

using testing::Golden;

// The largest difference, in units of the reference's root mean square.
double relative_difference(const float* values, const std::vector<float>& reference) {
  double largest = 0, squares = 0;
  for (size_t i = 0; i < reference.size(); ++i) {
    largest = std::max(largest, std::abs(double(values[i]) - double(reference[i])));
    squares += double(reference[i]) * double(reference[i]);
    if (std::isnan(values[i])) return INFINITY;
  }
  return largest / std::sqrt(squares / double(reference.size()));
}

void expect_golden(const std::filesystem::path& folder, const std::filesystem::path& golden_file) {
  SCOPED_TRACE(folder.native());
  constexpr double kTolerance = 1e-4;
  const Golden golden(golden_file);
  const Checkpoint checkpoint(folder);
  const Decoder decoder(checkpoint);
  const Sequences sequences(golden.sequences, golden.length);
  const RopeTable rope(decoder.config().rope, golden.length);
  FloatMatrix hidden(sequences.tokens(), decoder.config().width);
  decoder.embed(golden.ids, sequences, hidden.data());
  LayerActivations activations;
  for (int64_t i = 0; i < decoder.config().layers; ++i) {
    forward_layer(decoder.load_layer(i), rope, sequences, hidden.data(), hidden.data(), activations);
    const std::string name = "hidden_" + std::to_string(i + 1);
    if (!golden.has(name)) continue;
    EXPECT_LT(relative_difference(hidden.data(), golden.values<float>(name)), kTolerance) << name;
  }
  const FloatMatrix logits = compute_logits(decoder, hidden.data(), hidden.rows());
  const std::vector<float> reference = golden.values<float>("logits");
  ASSERT_EQ(logits.size(), int64_t(reference.size()));
  const double difference = relative_difference(logits.data(), reference);
  EXPECT_LT(difference, kTolerance);
  ::testing::Test::RecordProperty(folder.filename().native(), std::to_string(difference));
}

TEST(DecoderGolden, Llama) {
  expect_golden(testing::source_folder() / "test/data/docs-llama-4m",
                testing::source_folder() / "test/golden/docs-llama-4m.safetensors");
}

TEST(DecoderGolden, SharedModels) {
  const auto shared = testing::shared_folder();
  if (!shared) GTEST_SKIP() << "PRUNE_SHARED is not set";
  int found = 0;
  for (const char* kind : {"families", "models"}) {
    for (const auto& folder : std::filesystem::directory_iterator(*shared / kind)) {
      expect_golden(folder.path(), folder.path() / "golden.safetensors");
      ++found;
    }
  }
  EXPECT_GE(found, 12);
}

}  // namespace
}  // namespace prune
