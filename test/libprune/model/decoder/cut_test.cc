// Models that were cut, against the dense ones with the units that went zeroed.
#include <algorithm>
#include <cmath>
#include <fstream>
#include <numeric>

#include <gmock/gmock.h>

#include <prune/error.h>

#include "libprune/model/decoder/decoder.h"
#include "libprune/model/decoder/forward.h"
#include "libprune/model/decoder/head.h"
#include "libprune/model/structured/config_edit.h"
#include "libprune/model/structured/cut_checkpoint.h"
#include "libprune/model/structured/model_shape.h"
#include "test/libprune/io/files.h"
#include "test/libprune/model/decoder/models.h"

namespace prune {
namespace {

using testing::Golden;
using testing::TempFolder;

struct Text {
  std::vector<int32_t> ids;
  int64_t sequences = 0, length = 0;
};

bool holds(const Units& units, int64_t unit) { return std::ranges::binary_search(units, unit); }

void zero_columns(Linear& linear, const Units& kept) {
  for (int64_t j = 0; j < linear.in; ++j) {
    if (holds(kept, j)) continue;
    for (int64_t i = 0; i < linear.out; ++i) linear.weight.row(i)[j] = 0;
  }
}

// The feed-forward half of a mixture where the experts that went are never chosen, by the textbook.
void masked_experts(const DecoderLayer& layer, const LayerCut& cut, LayerActivations& a, float* y) {
  const DecoderConfig& config = *layer.config;
  const auto chosen = size_t(std::min<int64_t>(config.experts_per_token, int64_t(cut.experts.size())));
  std::vector<float> x(size_t(config.width)), logits(size_t(config.experts)), out(size_t(config.width));
  for (int64_t t = 0; t < a.middle.rows(); ++t) {
    layer.feed_forward_norm.apply(a.middle.row(t), x.data());
    layer.router.forward(x.data(), config.width, logits.data(), config.experts, 1);
    Units order = cut.experts;
    std::ranges::sort(order, [&](int64_t e, int64_t f) { return logits[size_t(e)] > logits[size_t(f)]; });
    order.resize(chosen);
    double sum = 0;
    for (const int64_t e : order) sum += std::exp(double(logits[size_t(e)]));
    std::copy_n(a.middle.row(t), config.width, y + t * config.width);
    for (const int64_t e : order) {
      const FeedForward& expert = layer.experts[size_t(e)];
      FloatMatrix expanded(1, config.expanded_width()), inner;
      int64_t column = 0;
      for (const Linear& linear : expert.expanding) {
        linear.forward(x.data(), config.width, expanded.data() + column, expanded.cols(), 1);
        column += linear.out;
      }
      activate(config.activation, config.family->is_gated, expanded, config.inner, inner);
      expert.contracting.forward(inner.data(), config.inner, out.data(), config.width, 1);
      const double share = std::exp(double(logits[size_t(e)])) / sum;
      for (int64_t c = 0; c < config.width; ++c) y[t * config.width + c] += float(share) * out[size_t(c)];
    }
  }
}

FloatMatrix logits_of(const Decoder& decoder, const Text& text, const Cut* cut) {
  const Sequences sequences(text.sequences, text.length);
  const RopeTable rope(decoder.config().rope, text.length);
  FloatMatrix hidden(sequences.tokens(), decoder.config().width);
  decoder.embed(text.ids, sequences, hidden.data());
  LayerActivations activations;
  for (int64_t i = 0; i < decoder.config().layers; ++i) {
    DecoderLayer layer = decoder.load_layer(i);
    const LayerCut* kept = nullptr;
    if (cut != nullptr) {
      const auto found = std::ranges::find(cut->layers, i, &LayerCut::layer);
      if (found == cut->layers.end()) continue;
      kept = &*found;
      zero_columns(layer.output, columns_of_heads(decoder.config(), kept->heads));
      for (size_t e = 0; e < kept->experts.size(); ++e)
        zero_columns(layer.experts[size_t(kept->experts[e])].contracting, kept->channels[e]);
    }
    forward_qkv(layer, rope, sequences, hidden.data(), activations, {});
    forward_attention(layer, sequences, hidden.data(), activations, {});
    if (kept != nullptr && decoder.config().has_experts()) {
      masked_experts(layer, *kept, activations, hidden.data());
    } else {
      forward_feed_forward(layer, activations, hidden.data(), {});
    }
  }
  return compute_logits(decoder, hidden.data(), hidden.rows());
}

// Every third channel goes, others in each layer and expert.
void cut_channels(const DecoderConfig& config, Cut& cut) {
  for (LayerCut& layer : cut.layers) {
    for (size_t e = 0; e < layer.experts.size(); ++e) {
      Units kept;
      for (int64_t c = 0; c < config.inner; ++c) {
        if ((c + layer.layer + layer.experts[e]) % 3 != 0) kept.push_back(c);
      }
      kept.resize(size_t(config.inner * 5 / 8));
      layer.channels[e] = kept;
    }
  }
}

void cut_heads(const DecoderConfig& config, Cut& cut) {
  for (LayerCut& layer : cut.layers) {
    if (config.kv_heads == 1) {
      layer.heads = {1, config.heads - 1};
    } else {
      layer.kv_heads = {layer.layer % config.kv_heads};
      layer.heads = heads_of(config, layer.kv_heads);
    }
  }
}

void cut_experts(const DecoderConfig& config, Cut& cut) {
  for (LayerCut& layer : cut.layers) {
    std::erase(layer.experts, layer.layer % config.experts);
    layer.channels.pop_back();
  }
}

Repacking repacking_to(const Checkpoint& checkpoint, const std::filesystem::path& output) {
  static const Progress kSilent;
  return Repacking(checkpoint, output, {{"job", "test"}}, {.force = true}, kSilent, 1);
}

void expect_equal_logits(const Decoder& dense, const Cut& cut, const Text& text, const std::string& what) {
  SCOPED_TRACE(what + " of " + dense.checkpoint().path().native());
  const TempFolder folder;
  Repacking repacking = repacking_to(dense.checkpoint(), folder / "out");
  write_cut(dense, cut, {}, repacking);
  const Checkpoint checkpoint(folder / "out");
  const Decoder smaller(checkpoint);
  EXPECT_EQ(size_of(smaller.config()), size_of(cut.layers[0]));
  const FloatMatrix found = logits_of(smaller, text, nullptr);
  const FloatMatrix expected = logits_of(dense, text, &cut);
  ASSERT_EQ(found.size(), expected.size());
  double largest = 0, difference = 0;
  for (int64_t i = 0; i < found.size(); ++i) {
    largest = std::max(largest, std::abs(double(expected.data()[i])));
    difference = std::max(difference, std::abs(double(found.data()[i]) - double(expected.data()[i])));
  }
  EXPECT_LE(difference, 1e-5 * largest);
  EXPECT_GT(largest, 0);
}

void expect_all_cuts(const std::filesystem::path& folder, const Text& text) {
  const Checkpoint checkpoint(folder);
  const Decoder dense(checkpoint);
  const DecoderConfig& config = dense.config();
  Cut all = whole_model(config);
  expect_equal_logits(dense, all, text, "all");
  Cut channels = whole_model(config);
  cut_channels(config, channels);
  expect_equal_logits(dense, channels, text, "channels");
  Cut layers = whole_model(config);
  layers.layers.erase(layers.layers.begin());
  expect_equal_logits(dense, layers, text, "layers");
  Cut mixed = channels;
  mixed.layers.pop_back();
  if (config.has_experts()) {
    Cut experts = whole_model(config);
    cut_experts(config, experts);
    expect_equal_logits(dense, experts, text, "experts");
    cut_experts(config, mixed);
  }
  Cut heads = whole_model(config);
  cut_heads(config, heads);
  if (config.family->derives_head_dim) {
    EXPECT_THROW(new_config(dense, heads), Error);
  } else {
    expect_equal_logits(dense, heads, text, "heads");
    cut_heads(config, mixed);
  }
  expect_equal_logits(dense, mixed, text, "everything");
}

TEST(Cut, OfLlamaEqualsZeroedUnits) {
  const Golden golden(testing::source_folder() / "test/golden/docs-llama-4m.safetensors");
  const std::vector<int32_t> ids(golden.ids.begin(), golden.ids.begin() + 40);
  expect_all_cuts(testing::source_folder() / "test/data/docs-llama-4m", {ids, 2, 20});
}

TEST(Cut, OfEveryFamilyEqualsZeroedUnits) {
  const auto shared = testing::shared_folder();
  if (!shared) GTEST_SKIP() << "PRUNE_SHARED is not set";
  int found = 0;
  for (const auto& folder : std::filesystem::directory_iterator(*shared / "families")) {
    const Golden golden(folder.path() / "golden.safetensors");
    expect_all_cuts(folder.path(), {golden.ids, golden.sequences, golden.length});
    ++found;
  }
  EXPECT_GE(found, 10);
}

// A run that is resumed may choose other units, with another number of threads say: no file of the first
// stays then, be it of the same size.
TEST(Cut, ResumedWithAnotherCutIsThatCut) {
  const Checkpoint checkpoint(testing::source_folder() / "test/data/docs-llama-4m");
  const Decoder dense(checkpoint);
  Cut first = whole_model(dense.config()), second = first;
  cut_channels(dense.config(), first);
  cut_channels(dense.config(), second);
  for (LayerCut& layer : second.layers) layer.channels[0].back() += 1;
  const TempFolder folder;
  const std::vector<std::byte> zeros(512);
  const ChangedTensors changed = {{dense.layer_name(1) + ".input_layernorm.weight", zeros}};
  const auto write = [&](const Cut& cut, const char* name, bool stops) {
    const Progress progress = [&](uint64_t, uint64_t, std::string_view tensor) {
      if (stops && tensor == "model.norm.weight") throw Interrupted();  // of the last shard
    };
    Repacking repacking(checkpoint, folder / name, {{"job", "test"}}, {.resume = true}, progress, 1);
    write_cut(dense, cut, changed, repacking);
  };
  EXPECT_THROW(write(first, "out", true), Interrupted);
  write(second, "out", false);
  write(second, "expected", false);
  for (const auto& file : std::filesystem::directory_iterator(folder / "expected"))
    EXPECT_EQ(testing::read_file(file.path()), testing::read_file(folder / "out" / file.path().filename()));
}

DecoderConfig config_from(const std::string& text) {
  return parse_decoder_config(nlohmann::json::parse(text));
}

std::string with_layers(const std::string& text, std::initializer_list<int64_t> layers) {
  const DecoderConfig config = config_from(text);
  Cut cut;
  for (const int64_t layer : layers) cut.layers.push_back(whole_layer(config, layer));
  return cut_config_text(text, config, cut);
}

constexpr const char* kQwen = R"({
  "hidden_act": "silu",
  "hidden_size": 64, "intermediate_size": 192,
  "layer_types": [
    "full_attention",
    "sliding_attention",
    "full_attention"
  ],
  "max_position_embeddings": 256,
  "model_type": "qwen2",
  "num_attention_heads": 4,
  "num_hidden_layers": 3, "num_key_value_heads": 2,
  "rms_norm_eps": 1.0e-06, "sliding_window": 16, "use_sliding_window": true,
  "vocab_size": 256
})";

TEST(CutConfig, ChangesWhatItMustAndNoMore) {
  std::string expected = kQwen;
  const std::string list = "    \"full_attention\",\n    \"sliding_attention\",\n    \"full_attention\"\n";
  expected.replace(expected.find(list), list.size(), "    \"sliding_attention\",\n    \"full_attention\"\n");
  expected.replace(expected.find("hidden_layers\": 3"), 17, "hidden_layers\": 2");
  EXPECT_EQ(with_layers(kQwen, {1, 2}), expected);
  EXPECT_EQ(with_layers(kQwen, {0, 1, 2}), kQwen);
}

TEST(CutConfig, KeepsTheSizeOfHeads) {
  const DecoderConfig config = config_from(kQwen);
  Cut cut = whole_model(config);
  for (LayerCut& layer : cut.layers) {
    layer.kv_heads = {1};
    layer.heads = {2, 3};
  }
  const std::string text = cut_config_text(kQwen, config, cut);
  EXPECT_EQ(config_from(text).head_dim, 16);
  EXPECT_THAT(text, ::testing::HasSubstr("\"vocab_size\": 256,\n  \"head_dim\": 16\n}"));
}

TEST(CutConfig, CountsTheLayersBeforeWindowsBegin) {
  std::string text = kQwen;
  const size_t at = text.find("  \"layer_types\"");
  text.replace(at, text.find("],") + 2 - at, "  \"max_window_layers\": 2,");
  const DecoderConfig config = config_from(text);
  EXPECT_EQ(config_from(with_layers(text, {1, 2})).windows, (std::vector<int64_t>{0, 16}));
  EXPECT_EQ(config.windows, (std::vector<int64_t>{0, 0, 16}));
  // Where nothing is said, windows begin at layer 28.
  text.replace(text.find("  \"max_window_layers\": 2,"), 25, "");
  text.replace(text.find("hidden_layers\": 3"), 17, "hidden_layers\": 29");
  EXPECT_EQ(config_from(with_layers(text, {5, 28})).windows, (std::vector<int64_t>{0, 16}));
}

TEST(CutConfig, RefusesWhatTheFormatCannotSay) {
  const auto refusal = [](const auto& call) -> std::string {
    try {
      call();
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  const DecoderConfig config = config_from(kQwen);
  Cut cut = whole_model(config);
  cut.layers[1].channels[0].pop_back();
  EXPECT_THAT(refusal([&] { cut_config_text(kQwen, config, cut); }),
              ::testing::HasSubstr("all layers the same size"));
  EXPECT_THAT(refusal([&] { cut_config_text(kQwen, config, {}); }),
              ::testing::HasSubstr("must leave a layer"));
  const std::string gpt2 = R"({"model_type": "gpt2", "n_embd": 64, "n_head": 4, "n_inner": null, "n_layer": 2,
    "n_positions": 64, "vocab_size": 256, "activation_function": "gelu_new",
    "scale_attn_by_inverse_layer_idx": true})";
  EXPECT_THAT(refusal([&] { with_layers(gpt2, {1}); }), ::testing::HasSubstr("can't say what would be left"));
  EXPECT_EQ(config_from(with_layers(gpt2, {0})).layers, 1);
  const StructuredOptions layers{.units = UnitKind::kLayers, .sparsity = 0.5};
  EXPECT_THAT(refusal([&] { plan_shape(config_from(gpt2), layers); }),
              ::testing::HasSubstr("scaled by the layer's number"));
}

}  // namespace
}  // namespace prune
