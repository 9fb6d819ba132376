// Whole models, token by token, against logits of Hugging Face transformers for whole sequences.
#include "libprune/model/runtime/generation.h"

#include <cmath>

#include <gmock/gmock.h>

#include "kernels/sparse/isa.h"
#include "libprune/model/crossover.h"
#include "libprune/model/runtime/session.h"
#include "test/libprune/model/decoder/models.h"
#include "test/libprune/model/twins.h"

namespace prune {
namespace {

using testing::Golden;
using testing::kBundledModel;
using testing::PackedCase;
using testing::relative_difference;
using testing::TempFolder;
using testing::Twins;

// Nothing is measured, or read from or written to the user's cache; batches of both kinds occur.
RuntimeOptions options_of(Rounding rounding = Rounding::kNone) {
  return {.rounding = rounding, .dense_from = 6};
}

// Both sequences: the first tokens in two chunks, then one at a time.
void expect_golden(const std::filesystem::path& folder, const std::filesystem::path& golden_file) {
  SCOPED_TRACE(folder.native());
  const Golden golden(golden_file);
  const std::vector<float> reference = golden.values<float>("logits");
  const Checkpoint checkpoint(folder);
  const PreparedDecoder model(checkpoint, options_of());
  const int64_t vocabulary = model.config().vocabulary;
  Session session(model, {golden.length, golden.length}, 40);
  for (int64_t at = 0; at < golden.length;) {
    const int64_t count = at == 0 ? 11 : at == 11 ? 20 : 1;
    std::vector<NextTokens> next;
    for (size_t s = 0; s < 2; ++s)
      next.push_back(
          {s, std::span(golden.ids).subspan(size_t(int64_t(s) * golden.length + at), size_t(count))});
    const FloatMatrix& logits = session.run(next);
    at += count;
    for (int64_t s = 0; s < 2; ++s) {
      const float* expected = reference.data() + (s * golden.length + at - 1) * vocabulary;
      ASSERT_LT(relative_difference({logits.row(s), size_t(vocabulary)}, {expected, size_t(vocabulary)}),
                2e-5)
          << "sequence " << s << ", token " << at;
    }
  }
}

TEST(Generation, LogitsWithCacheAreThoseOfWholeSequences) {
  expect_golden(testing::source_folder() / kBundledModel,
                testing::source_folder() / "test/golden/docs-llama-4m.safetensors");
}

TEST(Generation, LogitsOfAllFamilies) {
  const auto shared = testing::shared_folder();
  if (!shared) GTEST_SKIP() << "PRUNE_SHARED is not set";
  int found = 0;
  for (const auto& folder : std::filesystem::directory_iterator(*shared / "families")) {
    expect_golden(folder.path(), folder.path() / "golden.safetensors");
    ++found;
  }
  EXPECT_GE(found, 10);
}

class SmallModel : public ::testing::Test {
 protected:
  SmallModel() : checkpoint_(testing::source_folder() / kBundledModel), model_(checkpoint_, options_of()) {}

  const std::vector<std::vector<int32_t>> prompts_{{5, 900, 17, 32}, {0}, {4, 4, 4, 2000, 8, 9, 10}};
  Checkpoint checkpoint_;
  PreparedDecoder model_;
};

TEST_F(SmallModel, ChunksAndBatchesDoNotChangeGreedyTokens) {
  GenerationOptions options{.new_tokens = 12};
  const Generation together = generate(model_, prompts_, options);
  options.chunk = 3;
  EXPECT_EQ(generate(model_, prompts_, options).ids, together.ids);
  for (size_t s = 0; s < prompts_.size(); ++s)
    EXPECT_THAT(generate(model_, {prompts_[s]}, options).ids, ::testing::ElementsAre(together.ids[s]));
  EXPECT_EQ(together.prompt_tokens, 12);
  EXPECT_EQ(together.decoded_tokens, 3 * 11);
}

TEST_F(SmallModel, TokensAreToldInTheirOrder) {
  std::vector<std::vector<int32_t>> told(prompts_.size());
  const Generation g =
      generate(model_, prompts_, {.new_tokens = 5}, [&](size_t s, int32_t id) { told[s].push_back(id); });
  EXPECT_EQ(told, g.ids);
}

TEST_F(SmallModel, ASeedDecides) {
  GenerationOptions options{.new_tokens = 8,
                            .sampling = {.temperature = 1.5, .top_k = 200, .top_p = 0.98, .seed = 4}};
  const std::vector<std::vector<int32_t>> twice{prompts_[0], prompts_[0]};
  const Generation first = generate(model_, twice, options), second = generate(model_, twice, options);
  EXPECT_EQ(first.ids, second.ids);
  EXPECT_NE(first.ids[0], first.ids[1]);  // each sequence draws by itself
  options.sampling.seed = 5;
  EXPECT_NE(generate(model_, twice, options).ids, first.ids);
}

TEST_F(SmallModel, AStopIdEndsASequence) {
  GenerationOptions options{.new_tokens = 12};
  const std::vector<int32_t> all = generate(model_, {prompts_[0]}, options).ids[0];
  options.stop_ids = {all[6]};
  const auto first = std::ranges::find(all, all[6]) - all.begin();
  const Generation stopped = generate(model_, prompts_, options);
  EXPECT_THAT(stopped.ids[0], ::testing::ElementsAreArray(all.begin(), all.begin() + first));
  EXPECT_TRUE(stopped.stopped[0]);
}

TEST_F(SmallModel, RefusesWhatCannotBe) {
  const auto message = [&](const std::vector<std::vector<int32_t>>& prompts,
                           const GenerationOptions& options) {
    try {
      generate(model_, prompts, options);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  using ::testing::HasSubstr;
  EXPECT_THAT(message({}, {}), HasSubstr("no prompt"));
  EXPECT_THAT(message({{1}, {}}, {}), HasSubstr("without tokens"));
  EXPECT_THAT(message({{4096}}, {}), HasSubstr("4096"));
  EXPECT_THAT(message({{-1}}, {}), HasSubstr("-1"));
  EXPECT_THAT(message({{1}}, {.new_tokens = 0}), HasSubstr("new tokens 0"));
  EXPECT_THAT(message({{1}}, {.new_tokens = 1024}), HasSubstr("1024 positions"));
  EXPECT_THAT(message({std::vector<int32_t>(1024, 1)}, {.new_tokens = 1}), HasSubstr("1024 tokens"));
  EXPECT_THAT(message({{1}}, {.chunk = 0}), HasSubstr("chunk 0"));
  EXPECT_THAT(message({{1}}, {.sampling = {.temperature = -1}}), HasSubstr("temperature"));
}

TEST_F(SmallModel, RefusesTokensOfNoOneSequence) {
  const std::vector<int32_t> ids{1, 2, 3};
  const auto message = [&](const std::vector<NextTokens>& next) {
    Session session(model_, {3, 3}, 5);
    try {
      session.run(next);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kUsage);
      return std::string(error.what());
    }
    return std::string();
  };
  using ::testing::HasSubstr;
  const std::span two = std::span(ids).first(2);
  EXPECT_EQ(message({{1, two}, {0, ids}}), "");
  EXPECT_THAT(message({}), HasSubstr("no sequence"));
  EXPECT_THAT(message({{0, two}, {2, two}}), HasSubstr("sequence 2: there are 2"));
  EXPECT_THAT(message({{1, {ids.data(), 1}}, {1, {ids.data(), 1}}}), HasSubstr("sequence 1 is named twice"));
  EXPECT_THAT(message({{0, two}, {1, {}}}), HasSubstr("sequence 1 is named without tokens"));
  EXPECT_THAT(message({{0, two}, {1, {}, false}}), HasSubstr("sequence 1 is named without tokens"));
  EXPECT_THAT(message({{0, ids}, {1, ids}}), HasSubstr("more than 5 tokens"));
}

// After six tokens, and after each of four more.
std::vector<float> logits_of(const Checkpoint& checkpoint, Rounding rounding) {
  const std::vector<int32_t> ids{0, 311, 25, 4000, 77, 1200, 9, 9, 650, 31};
  const PreparedDecoder model(checkpoint, options_of(rounding));
  Session session(model, {20}, 16);
  std::vector<float> all;
  for (const size_t count : {6, 1, 1, 1, 1}) {
    const NextTokens next[] = {{0, std::span(ids).subspan(size_t(session.length(0)), count)}};
    const FloatMatrix& logits = session.run(next);
    all.insert(all.end(), logits.data(), logits.data() + logits.size());
  }
  return all;
}

// In float a packed model gives what the one that it was packed from gives. Where inputs are rounded to bf16,
// sums in another order end in other roundings; then packed logits must be as near to the exact ones as the
// dense are.
TEST(Generation, PackedLogitsAreThoseOfTheDenseTwin) {
  for (const PackedCase& c : {PackedCase{NM{2, 4}, 0.5, PackedFormat::kNm},
                              {Unstructured{}, 0.7, PackedFormat::kBitmask},
                              {Unstructured{}, 0.9, PackedFormat::kWindows},
                              {Block{16, 16}, 0.7, PackedFormat::kBsr}}) {
    SCOPED_TRACE(name(c.format));
    const Twins twins(c);
    const std::vector<float> exact = logits_of(*twins.dense, Rounding::kNone);
    const auto error = [&](const Checkpoint& checkpoint, Rounding rounding) {
      return relative_difference(logits_of(checkpoint, rounding), exact);
    };
    EXPECT_LT(error(*twins.packed, Rounding::kNone), 2e-6);
    const double dense = error(*twins.dense, Rounding::kBf16);
    EXPECT_LT(dense, 0.02);
    EXPECT_LT(error(*twins.packed, Rounding::kBf16), 1.3 * dense + 1e-5);
  }
}

struct Prepared {
  PreparedWeights dense, packed;
};

Prepared prepare_twins(const PackedCase& c) {
  const Twins twins(c);
  return {PreparedDecoder(*twins.dense, options_of()).prepared(),
          PreparedDecoder(*twins.packed, options_of()).prepared()};
}

constexpr size_t kPrunedWeights = 3145728;  // of the bundled model, all but embeddings and norms; bf16

TEST(Generation, PreparedWeightsAreCounted) {
  const auto [dense, packed] = prepare_twins({NM{4, 8}, 0.5, PackedFormat::kNm});  // no kernel in place
  EXPECT_EQ(dense.packed, 0);
  EXPECT_EQ(dense.dense, 29);  // the head among them
  EXPECT_EQ(dense.bytes, 0U);
  EXPECT_EQ(packed.packed, 28);
  EXPECT_EQ(packed.dense, 1);
  EXPECT_EQ(dense.in_place - packed.in_place, 2 * kPrunedWeights);
  EXPECT_GT(packed.bytes, kPrunedWeights);
}

TEST(Generation, WeightsMultipliedWhereTheyLieTakeNoBytesOfTheirOwn) {
  if (!kernels::isa::runs_on(kernels::isa::kAvx2, kernels::isa::supported())) GTEST_SKIP() << "no AVX2";
  const auto [dense, packed] = prepare_twins({NM{2, 4}, 0.5, PackedFormat::kNm});
  EXPECT_EQ(packed.packed, 28);
  EXPECT_EQ(packed.bytes, 0U);
  // of four weights of two bytes two stay, with two bits each
  EXPECT_EQ(dense.in_place - packed.in_place, 2 * kPrunedWeights - (kPrunedWeights + kPrunedWeights / 8));
}

// Dense products never, so that no measurement decides what a prompt runs on.
TEST(Generation, Int8InputsReachEveryPackedLayer) {
  constexpr uint32_t kNeeds = kernels::isa::kAvx512 | kernels::isa::kAvx512Bf16;
  if (!kernels::isa::runs_on(kNeeds, kernels::isa::supported())) GTEST_SKIP() << "no AVX-512 BF16";
  for (const PackedCase& c : {PackedCase{NM{2, 4}, 0.5, PackedFormat::kNm, StoredValues::kInt8},
                              {Block{16, 16}, 0.5, PackedFormat::kBsr, StoredValues::kInt8}}) {
    SCOPED_TRACE(name(c.format));
    const Twins twins(c);
    const auto layers_in_bytes = [&](bool int8_inputs) {
      const PreparedDecoder model(*twins.packed, {.int8_inputs = int8_inputs, .dense_from = kNever});
      int64_t layers = 0;
      for (const auto& [kernel, count] : model.prepared().prompt_kernels)
        layers += kernel.find("_bytes_") != std::string::npos ? count : 0;
      return layers;
    };
    EXPECT_EQ(layers_in_bytes(true), 28);
    EXPECT_EQ(layers_in_bytes(false), 0);
  }
}

}  // namespace
}  // namespace prune
