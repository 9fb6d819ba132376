// Whole models on a CUDA device against the processor's in single precision.
#include <algorithm>
#include <functional>
#include <optional>

#include <gmock/gmock.h>

#include <prune/error.h>

#include "libprune/model/cuda/device_losses.h"
#include "libprune/model/runtime/generation.h"
#include "libprune/model/runtime/prepared_decoder.h"
#include "test/libprune/model/cuda/device.h"
#include "test/libprune/model/decoder/models.h"
#include "test/libprune/model/twins.h"

namespace prune {
namespace {

using gpu::DeviceDecoder;
using testing::Golden;
using testing::kBundledModel;
using testing::PackedCase;
using testing::relative_difference;
using testing::TempFolder;
using testing::Twins;

class DeviceModel : public testing::OnDevice {};

// What rounding to bfloat16 may cost. On the way through a layer ten results are rounded one after another
// (both norms, q and k twice, p, v, the context, both sums of a half, expanded and inner), and two around the
// layers, each by a relative error of at most 2^-8. Errors of single weights are independent: they add up as
// squares, and the hidden state, to which they are added, is not rounded.
double rounding_bound(const DecoderConfig& config) {
  return std::sqrt(10 * double(config.layers) + 2) * testing::kBf16;
}

// The logits after each of `counts` more tokens.
std::vector<std::vector<float>> logits_of(const ReadyModel& model, const std::vector<int32_t>& ids,
                                          const std::vector<size_t>& counts) {
  const auto sequences = model.start({int64_t(ids.size())}, int64_t(ids.size()));
  std::vector<std::vector<float>> all;
  size_t at = 0;
  for (const size_t count : counts) {
    const NextTokens next[] = {{0, std::span(ids).subspan(at, count)}};
    const FloatMatrix& logits = sequences->run(next);
    all.emplace_back(logits.data(), logits.data() + logits.size());
    at += count;
  }
  return all;
}

std::vector<int32_t> some_ids(size_t count, int64_t vocabulary) {
  std::mt19937 random(3);
  std::vector<int32_t> ids;
  for (size_t i = 0; i < count; ++i) ids.push_back(int32_t(random() % uint64_t(vocabulary)));
  return ids;
}

// Prompts in one go, in parts and token by token, the second and third time in replays of a graph.
void expect_near_processor(const Checkpoint& checkpoint, const Checkpoint& same_on_processor,
                           const gpu::DeviceOptions& options = {}) {
  const PreparedDecoder here(same_on_processor, {.rounding = Rounding::kNone, .dense_from = 6});
  const DeviceDecoder there(checkpoint, {}, options);
  const double bound = rounding_bound(here.config());
  const std::vector<int32_t> ids = some_ids(150, here.config().vocabulary);
  for (const std::vector<size_t>& counts :
       {std::vector<size_t>{146, 1, 1, 1, 1}, {70, 3, 73, 1, 1, 1, 1}, std::vector<size_t>(150, 1)}) {
    const auto expected = logits_of(here, ids, counts), got = logits_of(there, ids, counts);
    for (size_t i = counts.size() - 4; i < counts.size(); ++i)
      EXPECT_LT(relative_difference(got[i], expected[i]), bound) << counts.front() << " tokens first, " << i;
  }
}

TEST_F(DeviceModel, LogitsOfTheDenseModel) {
  const Checkpoint checkpoint(testing::source_folder() / kBundledModel);
  expect_near_processor(checkpoint, checkpoint);
}

TEST_F(DeviceModel, LogitsOfPackedModels) {
  for (const PackedCase& c : {PackedCase{NM{2, 4}, 0.5, PackedFormat::kNm},
                              {NM{2, 4}, 0.5, PackedFormat::kNm, StoredValues::kInt8},
                              {Unstructured{}, 0.7, PackedFormat::kBitmask},
                              {Unstructured{}, 0.7, PackedFormat::kWindows},
                              {Block{16, 16}, 0.2, PackedFormat::kBsr}}) {
    SCOPED_TRACE(std::string(name(c.format)) + " " + std::string(name(c.values)));
    const Twins twins(c);
    for (const bool keeps_dense : {true, false})
      expect_near_processor(*twins.packed, *twins.packed, {.keeps_dense = keeps_dense});
  }
}

// The gap between what a model says and the most probable token of another, as a share of the logits.
double gap(std::span<const float> logits, int32_t id) {
  double squares = 0;
  for (const float l : logits) squares += double(l) * double(l);
  return double(*std::ranges::max_element(logits) - logits[size_t(id)]) /
         std::sqrt(squares / double(logits.size()));
}

// Both continue the dense model's text. Where they differ, the two tokens were as probable but for rounding:
// a logit is off by about the bound times the logits' root mean square, four times that at most among some
// thousand, on both sides.
TEST_F(DeviceModel, GreedyTokensOfPackedAndDense) {
  const Twins twins({NM{2, 4}, 0.5, PackedFormat::kNm});
  const DeviceDecoder dense(*twins.dense), packed(*twins.packed);
  constexpr int64_t kSteps = 200;
  const std::vector<int32_t> prompt{0, 311, 25, 4000, 77};
  const Generation text = generate(dense, {prompt}, {.new_tokens = kSteps});
  std::vector<int32_t> ids = prompt;
  ids.insert(ids.end(), text.ids[0].begin(), text.ids[0].end() - 1);
  std::vector<size_t> counts(kSteps, 1);
  counts[0] = prompt.size();
  const auto logits = logits_of(packed, ids, counts);
  int64_t equal = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    const auto said = int32_t(std::ranges::max_element(logits[i]) - logits[i].begin());
    equal += said == text.ids[0][i];
    EXPECT_LT(gap(logits[i], text.ids[0][i]), 8 * rounding_bound(dense.config())) << i;
  }
  EXPECT_GE(equal, kSteps * 9 / 10);
}

// Two greedy texts of one prompt. From where they differ on they are two; there, both tokens were as probable
// but for rounding (see above).
void expect_same_text(const DeviceDecoder& model, std::vector<int32_t> ids, const std::vector<int32_t>& text,
                      const std::vector<int32_t>& other) {
  ASSERT_EQ(text.size(), other.size());
  const auto differ = size_t(std::ranges::mismatch(text, other).in1 - text.begin());
  if (differ == text.size()) return;
  ids.insert(ids.end(), text.begin(), text.begin() + int64_t(differ));
  const std::vector<float> logits = logits_of(model, ids, {ids.size()}).front();
  for (const int32_t id : {text[differ], other[differ]})
    EXPECT_LT(gap(logits, id), 8 * rounding_bound(model.config())) << "token " << differ;
}

// Batches of every size up to where dense products are taken without a measurement, and beyond.
TEST_F(DeviceModel, KeepsUnstructuredWeightsDenseUnlessItIsToBeLean) {
  const Twins twins({Unstructured{}, 0.7, PackedFormat::kBitmask});
  const DeviceDecoder lean(*twins.packed, {}, {.keeps_dense = false}), kept(*twins.packed);
  EXPECT_TRUE(lean.prepared().prompt_kernels.contains("cuBLASLt, expanded each time"));
  EXPECT_FALSE(kept.prepared().prompt_kernels.contains("cuBLASLt, expanded each time"));
  EXPECT_EQ(kept.prepared().prompt_kernels.at("cuBLASLt, expanded once"), kept.prepared().packed);
  EXPECT_GT(kept.prepared().bytes, lean.prepared().bytes);
  const DeviceDecoder plain(*twins.dense);
  for (const size_t sequences : {1, 2, 5, 9, 16, 17, 40}) {
    const std::vector<std::vector<int32_t>> prompts(sequences, some_ids(3, kept.config().vocabulary));
    const std::vector<int32_t> text = generate(plain, prompts, {.new_tokens = 4}).ids[0];
    for (const std::vector<int32_t>& ids : generate(kept, prompts, {.new_tokens = 4}).ids)
      expect_same_text(kept, prompts[0], text, ids);
  }
}

TEST_F(DeviceModel, BatchesChunksAndSamplesAreThoseOfOneSequence) {
  const Checkpoint checkpoint(testing::source_folder() / kBundledModel);
  const DeviceDecoder model(checkpoint);
  const std::vector<std::vector<int32_t>> prompts{{5, 900, 17, 32}, {0}, {4, 4, 4, 2000, 8, 9, 10}};
  GenerationOptions options{.new_tokens = 12};
  const Generation together = generate(model, prompts, options);
  EXPECT_EQ(generate(model, prompts, options).ids, together.ids);
  options.chunk = 3;
  const Generation chunks = generate(model, prompts, options);
  for (size_t s = 0; s < prompts.size(); ++s) {
    SCOPED_TRACE(s);
    expect_same_text(model, prompts[s], together.ids[s], chunks.ids[s]);
    expect_same_text(model, prompts[s], together.ids[s],
                     generate(model, {prompts[s]}, {.new_tokens = 12}).ids[0]);
  }
  // The first token of a sampler that has one token to choose from is the most probable one.
  options = {.new_tokens = 12, .sampling = {.temperature = 1, .top_k = 1}};
  EXPECT_EQ(generate(model, prompts, options).ids, together.ids);
  // Stop where the first sequence says its third token: the others go on alone.
  options = {.new_tokens = 12, .stop_ids = {together.ids[0][2]}};
  const Generation stopped = generate(model, prompts, options);
  EXPECT_TRUE(stopped.stopped[0]);
  EXPECT_LE(stopped.ids[0].size(), 2U);
  EXPECT_GT(together.cache_bytes, 0U);
}

// The bundled model with a part of its vocabulary: of no eight tokens a multiple.
void write_with_vocabulary(int64_t tokens, const std::filesystem::path& folder) {
  const auto from = testing::source_folder() / kBundledModel;
  const auto replace = [](std::string& text, const std::string& what, const std::string& with) {
    const size_t at = text.find(what);
    ASSERT_NE(at, std::string::npos) << what;
    text.replace(at, what.size(), with);
  };
  std::string config = testing::read_file(from / "config.json");
  replace(config, "\"vocab_size\": 4096", "\"vocab_size\": " + std::to_string(tokens));
  testing::write_file(folder / "config.json", config);
  const Checkpoint model(from);
  std::string json, data;
  const auto add = [&](const TensorInfo& tensor, std::span<const std::byte> bytes) {
    std::vector<int64_t> shape = tensor.shape;
    if (shape.front() == 4096) {
      shape.front() = tokens;
      bytes = bytes.first(size_t(tokens * shape.back()) * 2);
    }
    const std::string begin = std::to_string(data.size());
    data.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    json += (json.empty() ? "{\"" : ",\"") + tensor.name + "\":{\"dtype\":\"BF16\",\"shape\":[" +
            std::to_string(shape.front()) + (shape.size() > 1 ? "," + std::to_string(shape[1]) : "") +
            "],\"data_offsets\":[" + begin + "," + std::to_string(data.size()) + "]}";
  };
  for (const SafetensorsFile& shard : model.shards()) {
    for (const TensorInfo& tensor : shard.tensors()) add(tensor, shard.data(tensor));
  }
  testing::write_file(folder / "model.safetensors", testing::safetensors(json + "}", data));
}

TEST_F(DeviceModel, AnyVocabulary) {
  const TempFolder folder;
  write_with_vocabulary(4001, folder.path());
  const Checkpoint checkpoint(folder.path());
  expect_near_processor(checkpoint, checkpoint);
  // What pads the rows of logits has no part in losses.
  const PreparedDecoder here(checkpoint, {.rounding = Rounding::kNone, .dense_from = 6});
  const DeviceDecoder there(checkpoint);
  const std::vector<int32_t> ids = some_ids(200, 4001), targets = some_ids(200, 4001);
  std::vector<float> got(ids.size()), expected;
  const Progress none;
  ProgressCounter counter(none, 1);
  gpu::DeviceLosses(there).run(50, ids, targets, got, counter);
  for (size_t w = 0; w < ids.size(); w += 50) {
    const std::vector<int32_t> window(ids.begin() + int64_t(w), ids.begin() + int64_t(w) + 50);
    const auto logits = logits_of(here, window, std::vector<size_t>(50, 1));
    for (size_t i = 0; i < 50; ++i) {
      double sum = 0;
      for (const float l : logits[i]) sum += std::exp(double(l));
      expected.push_back(float(std::log(sum) - double(logits[i][size_t(targets[w + i])])));
    }
  }
  EXPECT_LT(relative_difference(got, expected), rounding_bound(here.config()));
}

// Two calls with as many tokens, in windows of another length.
TEST_F(DeviceModel, LossesOfWindowsOfAnyLength) {
  const Checkpoint checkpoint(testing::source_folder() / kBundledModel);
  const DeviceDecoder model(checkpoint);
  const std::vector<int32_t> ids = some_ids(256, 4096), targets = some_ids(256, 4096);
  gpu::DeviceLosses losses(model);
  const Progress none;
  ProgressCounter counter(none, 1);
  for (const int64_t seqlen : {128, 32, 256, 64}) {
    std::vector<float> got(ids.size()), expected(ids.size());
    losses.run(seqlen, ids, targets, got, counter);
    gpu::DeviceLosses(model).run(seqlen, ids, targets, expected, counter);
    EXPECT_EQ(got, expected) << seqlen;
  }
}

TEST_F(DeviceModel, PerplexityIsTheProcessors) {
  const Checkpoint checkpoint(testing::source_folder() / kBundledModel);
  const Golden golden(testing::source_folder() / "test/golden/docs-llama-4m.safetensors");
  const DeviceDecoder there(checkpoint);
  const Decoder here(checkpoint);
  const PerplexityOptions options{.seqlen = golden.length / 2, .stride = golden.length / 4};
  gpu::DeviceLosses losses(there);
  const Perplexity got = measure_perplexity(there.config(), golden.ids, options, losses);
  const Perplexity expected = measure_perplexity(here, golden.ids, options);
  EXPECT_EQ(got.predictions, expected.predictions);
  // Means of some hundred losses, each off by the logits' errors, about 0.01 of a few nats.
  EXPECT_NEAR(got.nats, expected.nats, 0.01 * expected.nats);
}

TEST_F(DeviceModel, AllFamilies) {
  const auto shared = testing::shared_folder();
  if (!shared) GTEST_SKIP() << "PRUNE_SHARED is not set";
  int ran = 0, refused = 0;
  for (const auto& folder : std::filesystem::directory_iterator(*shared / "families")) {
    SCOPED_TRACE(folder.path().native());
    const Checkpoint checkpoint(folder.path());
    std::optional<DeviceDecoder> model;
    try {
      model.emplace(checkpoint);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInput);
      EXPECT_THAT(error.what(), ::testing::HasSubstr("not supported on CUDA devices"));
      ++refused;
      continue;
    }
    ++ran;
    const Golden golden(folder.path() / "golden.safetensors");
    const std::vector<float> reference = golden.values<float>("logits");
    const std::vector<int32_t> ids(golden.ids.begin(), golden.ids.begin() + golden.length);
    std::vector<size_t> counts(size_t(golden.length) - 10, 1);
    counts[0] = 11;
    const auto got = logits_of(*model, ids, counts);
    const auto vocabulary = size_t(model->config().vocabulary);
    for (size_t i = 0; i < got.size(); ++i) {
      EXPECT_LT(relative_difference(got[i], std::span(reference).subspan((10 + i) * vocabulary, vocabulary)),
                rounding_bound(model->config()))
          << i;
    }
  }
  EXPECT_EQ(ran, 7);
  EXPECT_EQ(refused, 3);
}

TEST_F(DeviceModel, TooLittleMemory) {
  try {
    gpu::require_device_memory(size_t(1) << 50, "the model's weights take");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kRuntime);
    EXPECT_THAT(error.what(),
                ::testing::MatchesRegex("the model's weights take 1125899907 MB of the CUDA device's memory, "
                                        "of which [0-9]+ MB of [0-9]+ MB are free"));
  }
}

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInput);
    return error.what();
  }
  return "";
}

// Without a device from here on.
TEST(DeviceFamily, NamesWhatDoesNotRun) {
  DecoderConfig config = read_decoder_config(Checkpoint(testing::source_folder() / kBundledModel));
  config.vocabulary = 32001;
  EXPECT_EQ(message_of([&] { gpu::require_device_family(config); }), "");
  const auto fault = [&](int64_t DecoderConfig::*member, int64_t value) {
    DecoderConfig changed = config;
    changed.*member = value;
    return message_of([&] { gpu::require_device_family(changed); });
  };
  using ::testing::HasSubstr;
  EXPECT_THAT(fault(&DecoderConfig::width, 260), HasSubstr("a hidden state of width 260 (expected"));
  EXPECT_THAT(fault(&DecoderConfig::inner, 700), HasSubstr("a feed-forward layer of width 700 (expected"));
  EXPECT_THAT(fault(&DecoderConfig::head_dim, 136), HasSubstr("heads of 136 dimensions"));
  EXPECT_THAT(fault(&DecoderConfig::inner, int64_t{1} << 30), HasSubstr("2147483648 rows of a weight"));
}

TEST(DeviceWeights, NamesWhatNoKernelTakes) {
  const Twins twins({NM{2, 4}, 0.5, PackedFormat::kNm, StoredValues::kInt8});
  const PackedCheckpoint packed(*twins.packed);
  const gpu::DeviceTraits hopper{.hopper = true}, ampere{.hopper = false};
  PackedWeight weight = packed.weights().front();
  EXPECT_TRUE(gpu::takes(weight, hopper));
  EXPECT_FALSE(gpu::takes(weight, ampere));
  weight.values = StoredValues::kPlain;
  EXPECT_TRUE(gpu::takes(weight, ampere));
  weight.nm = {4, 8};
  EXPECT_FALSE(gpu::takes(weight, hopper));
  const TensorReader tensors(*twins.packed);
  std::vector<Linear> linear(1);
  linear[0].weight_name = packed.weights().front().tensor;
  linear[0].out = packed.weights().front().out;
  linear[0].in = packed.weights().front().in;
  EXPECT_EQ(message_of([&] { gpu::require_device_weights(tensors, linear, hopper); }), "");
  EXPECT_THAT(message_of([&] { gpu::require_device_weights(tensors, linear, ampere); }),
              ::testing::HasSubstr("is packed as nm 2:4 int8"));
}

}  // namespace
}  // namespace prune
