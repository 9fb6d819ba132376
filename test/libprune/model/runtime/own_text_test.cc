#include "libprune/model/calibrated/own_text.h"

#include <algorithm>
#include <cmath>

#include <gmock/gmock.h>
#include <prune/error.h>

#include "libprune/model/decoder/perplexity.h"
#include "test/libprune/model/decoder/models.h"

namespace prune {
namespace {

constexpr int64_t kLength = 32, kPrompt = kLength / 2;

class OwnTextTest : public ::testing::Test {
 protected:
  CalibrationText read(int64_t own, std::optional<uint64_t> seed = std::nullopt) const {
    return read_calibration_text(decoder_,
                                 {.file = testing::source_folder() / "test/golden/docs-llama-4m.safetensors",
                                  .samples = 2,
                                  .own_samples = own,
                                  .length = kLength,
                                  .seed = seed});
  }

  Checkpoint checkpoint_{testing::source_folder() / "test/data/docs-llama-4m"};
  Decoder decoder_{checkpoint_};
};

TEST_F(OwnTextTest, ContinuesPiecesOfTheText) {
  const CalibrationText given = read(0), text = read(66);  // more than are written at once
  ASSERT_EQ(text.samples, 68);
  ASSERT_EQ(text.ids.size(), size_t(68 * kLength));
  EXPECT_TRUE(std::ranges::equal(text.sequences(0, 2), given.ids));
  for (int64_t s = 2; s < text.samples; ++s) {
    const std::span<const int32_t> prompt = text.sequences(s, 1).first(kPrompt);
    const auto found = std::search(given.ids.begin(), given.ids.end(), prompt.begin(), prompt.end());
    EXPECT_NE(found, given.ids.end()) << "sequence " << s;
  }
}

// What is drawn from the model surprises it as much as it is unsure; ids from anywhere surprise it more than
// a uniform guess would.
TEST_F(OwnTextTest, IsWhatTheModelSays) {
  CalibrationText text = read(64);
  const std::span<const int32_t> own = text.sequences(2, 64);
  const double written = measure_perplexity(decoder_, own, {.seqlen = kLength}).nats;
  std::vector<int32_t> other(own.begin(), own.end());
  for (size_t i = 0; i < other.size(); ++i) {
    if (int64_t(i) % kLength >= kPrompt)
      other[i] = int32_t(i * 2654435761U % uint64_t(decoder_.config().vocabulary));
  }
  const double anything = measure_perplexity(decoder_, other, {.seqlen = kLength}).nats;
  EXPECT_LT(written, 0.7 * anything);
}

TEST_F(OwnTextTest, IsTheSameForTheSameSeed) {
  EXPECT_EQ(read(3, 1).ids, read(3, 1).ids);
  EXPECT_FALSE(std::ranges::equal(read(3).sequences(2, 3), read(3, 1).sequences(2, 3)));
}

}  // namespace
}  // namespace prune
