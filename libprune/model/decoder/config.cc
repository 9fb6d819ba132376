#include "libprune/model/decoder/config.h"

#include <cmath>
#include <numbers>
#include <string>

#include <prune/error.h>

#include "libprune/io/text.h"
#include "libprune/model/decoder/config_reader.h"

namespace prune {
namespace {

std::string known_types() {
  std::string list;
  for (const std::string_view type : decoder_model_types())
    list += (list.empty() ? "" : ", ") + std::string(type);
  return list;
}

const DecoderFamily& family_of(const ConfigReader& config) {
  const std::string type = config.maybe_text("model_type").value_or("");
  const DecoderFamily* family = find_decoder_family(type);
  if (family == nullptr) {
    config.refuse("model_type", (type.empty() ? "missing" : quote_name(type) + " has no forward pass here") +
                                    ": expected one of " + known_types());
  }
  if (config.find("quantization_config") != nullptr) {
    config.refuse("quantization_config", "quantized weights have no forward pass here");
  }
  return *family;
}

Activation parse_activation(const ConfigReader& config, const DecoderFamily& family) {
  std::string_view key = family.keys.activation;
  if (config.find("hidden_activation") != nullptr) key = "hidden_activation";
  const std::string name = config.maybe_text(key).value_or("");
  if (name == "silu" || name == "swish") return Activation::kSilu;
  if (name == "relu") return Activation::kRelu;
  if (name == "gelu") return family.gelu_is_tanh ? Activation::kGeluTanh : Activation::kGelu;
  for (const char* spelling : {"gelu_new", "gelu_pytorch_tanh", "gelu_fast"}) {
    if (name == spelling) return Activation::kGeluTanh;
  }
  if (name.empty()) config.refuse(key, "missing");
  config.refuse(key, quote_name(name) +
                         " is no activation known here: expected silu, gelu, gelu_new, "
                         "gelu_pytorch_tanh or relu");
}

// Llama 3 stretches low frequencies by `factor`, keeps high ones and blends those between.
// Source: transformers, modeling_rope_utils.py, _compute_llama3_parameters.
float llama3_frequency(float frequency, double factor, double low, double high, double original) {
  const double wavelength = 2 * std::numbers::pi / double(frequency);
  if (wavelength < original / high) return frequency;
  if (wavelength > original / low) return float(double(frequency) / factor);
  const double smooth = (original / wavelength - low) / (high - low);
  return float((1 - smooth) * double(frequency) / factor + smooth * double(frequency));
}

void scale_frequencies(RopeConfig& rope, const ConfigReader& scaling) {
  std::string_view key = scaling.find("rope_type") != nullptr ? "rope_type" : "type";
  const std::string type = scaling.maybe_text(key).value_or("default");
  if (type == "default") return;
  if (type == "linear") {
    const double factor = scaling.positive("factor");
    for (float& f : rope.frequencies) f = float(double(f) / factor);
  } else if (type == "llama3") {
    const double factor = scaling.positive("factor"), low = scaling.positive("low_freq_factor"),
                 high = scaling.positive("high_freq_factor"),
                 original = scaling.positive("original_max_position_embeddings");
    if (high <= low) scaling.refuse("high_freq_factor", "expected more than low_freq_factor");
    for (float& f : rope.frequencies) f = llama3_frequency(f, factor, low, high, original);
  } else {
    scaling.refuse(key, quote_name(type) + " is not supported: expected default, linear or llama3");
  }
}

RopeConfig parse_rope(const ConfigReader& config, const DecoderFamily& family, int64_t head_dim) {
  RopeConfig rope;
  if (family.positions != PositionKind::kRotary) return rope;
  const auto parameters = config.section("rope_parameters");
  const auto scaling = parameters ? parameters : config.section("rope_scaling");
  const double top_theta = config.positive("rope_theta", family.default_rope_theta);
  const double theta = parameters ? parameters->positive("rope_theta", top_theta) : top_theta;
  const double top_share = config.positive("partial_rotary_factor", 1);
  const double share = parameters ? parameters->positive("partial_rotary_factor", top_share) : top_share;
  rope.dimensions = int64_t(double(head_dim) * share);
  if (share > 1 || rope.dimensions % 2 != 0) {
    config.refuse("partial_rotary_factor", std::to_string(rope.dimensions) + " of " +
                                               std::to_string(head_dim) +
                                               " dimensions of a head cannot rotate in pairs");
  }
  // Rounded to float at each step, as the models were trained.
  for (int64_t i = 0; i < rope.dimensions; i += 2) {
    const float exponent = float(i) / float(rope.dimensions);
    rope.frequencies.push_back(1.0F / float(std::pow(theta, double(exponent))));
  }
  if (scaling) scale_frequencies(rope, *scaling);
  return rope;
}

// The window of each layer, 0 for none. Layers are told apart by `layer_types`, or else by
// `max_window_layers`, from which on they have one.
std::vector<int64_t> parse_windows(const ConfigReader& config, const DecoderFamily& family, int64_t layers) {
  const int64_t window = config.maybe_count("sliding_window").value_or(0);
  std::vector<int64_t> windows(size_t(layers), 0);
  if (window == 0 || !config.flag("use_sliding_window", !family.switches_windows)) return windows;
  const nlohmann::json* types = config.find("layer_types");
  if (types != nullptr && (!types->is_array() || types->size() != windows.size())) {
    config.refuse("layer_types", "expected a list of " + std::to_string(layers));
  }
  constexpr int64_t kDefaultFirst = 28;
  const int64_t first =
      family.switches_windows ? config.maybe_count("max_window_layers").value_or(kDefaultFirst) : 0;
  for (int64_t i = 0; i < layers; ++i) {
    const bool slides = types != nullptr ? (*types)[size_t(i)] == "sliding_attention" : i >= first;
    if (slides) windows[size_t(i)] = window;
  }
  return windows;
}

std::vector<float> parse_attention_scales(const ConfigReader& config, const DecoderConfig& decoder) {
  const bool scales = config.flag("scale_attn_weights", true);
  const bool by_layer = config.flag("scale_attn_by_inverse_layer_idx", false);
  std::vector<float> result;
  for (int64_t i = 0; i < decoder.layers; ++i) {
    const double scale = scales ? 1 / std::sqrt(double(decoder.head_dim)) : 1;
    result.push_back(float(by_layer ? scale / double(i + 1) : scale));
  }
  return result;
}

void parse_biases(const ConfigReader& config, DecoderConfig& decoder) {
  const BiasRule rule = decoder.family->bias;
  const bool has_all = config.flag("enable_bias", decoder.family->model_type == "opt");
  const bool by_config = rule == BiasRule::kByConfig;
  const bool attention = by_config && config.flag("attention_bias", has_all);
  const bool feed_forward = by_config && config.flag("mlp_bias", has_all);
  decoder.qkv_bias = rule == BiasRule::kQkv || rule == BiasRule::kAll || attention;
  decoder.attention_output_bias = rule == BiasRule::kAll || attention;
  decoder.feed_forward_bias = rule == BiasRule::kAll || feed_forward;
}

void parse_attention(const ConfigReader& config, DecoderConfig& decoder) {
  const ConfigKeys& keys = decoder.family->keys;
  decoder.heads = config.count(keys.heads);
  decoder.kv_heads = config.count("num_key_value_heads", decoder.heads);
  if (decoder.heads % decoder.kv_heads != 0) {
    config.refuse("num_key_value_heads", std::to_string(decoder.kv_heads) + " does not divide " +
                                             std::to_string(decoder.heads) + " heads");
  }
  if (config.find("head_dim") == nullptr && decoder.width % decoder.heads != 0) {
    config.refuse(keys.heads, std::to_string(decoder.heads) + " does not divide a width of " +
                                  std::to_string(decoder.width));
  }
  decoder.head_dim = config.count("head_dim", decoder.width / decoder.heads);
  decoder.rope = parse_rope(config, *decoder.family, decoder.head_dim);
  decoder.windows = parse_windows(config, *decoder.family, decoder.layers);
  decoder.attention_scales = parse_attention_scales(config, decoder);
}

void parse_experts(const ConfigReader& config, DecoderConfig& decoder) {
  if (!decoder.has_experts()) return;
  decoder.experts = config.count("num_local_experts");
  decoder.experts_per_token = config.count("num_experts_per_tok");
  if (decoder.experts_per_token > decoder.experts) {
    config.refuse("num_experts_per_tok", "more than the " + std::to_string(decoder.experts) + " experts");
  }
}

// What would change the result and is not computed here.
void refuse_unsupported(const ConfigReader& config, const DecoderConfig& decoder) {
  if (config.count("word_embed_proj_dim", decoder.width) != decoder.width) {
    config.refuse("word_embed_proj_dim", "embeddings of another width than the layers are not supported");
  }
  if (!config.flag("layer_norm_elementwise_affine", true)) {
    config.refuse("layer_norm_elementwise_affine", "norms without weights are not supported");
  }
  if (config.flag("use_bidirectional_attention", false)) {
    config.refuse("use_bidirectional_attention", "only causal attention is supported");
  }
  if (config.flag("add_cross_attention", false)) {
    config.refuse("add_cross_attention", "only decoders without an encoder are supported");
  }
}

}  // namespace

DecoderConfig parse_decoder_config(const nlohmann::json& json) {
  const ConfigReader config(json);
  DecoderConfig decoder;
  decoder.family = &family_of(config);
  const DecoderFamily& family = *decoder.family;
  const ConfigKeys& keys = family.keys;
  decoder.vocabulary = config.count("vocab_size");
  decoder.width = config.count(keys.width);
  decoder.layers = config.count(keys.layers);
  decoder.inner = config.find(keys.inner) == nullptr && family.model_type == "gpt2"
                      ? 4 * decoder.width
                      : config.count(keys.inner);
  decoder.max_positions = config.count(keys.positions);
  decoder.norm_epsilon = float(keys.norm_epsilon.empty()
                                   ? double(family.default_norm_epsilon)
                                   : config.positive(keys.norm_epsilon, double(family.default_norm_epsilon)));
  decoder.activation = parse_activation(config, family);
  decoder.embedding_scale = family.scales_embedding ? std::sqrt(float(decoder.width)) : 1.0F;
  decoder.ties_embedding = config.flag("tie_word_embeddings", family.ties_by_default);
  decoder.norms_after = !config.flag("do_layer_norm_before", true);
  decoder.has_final_norm = !decoder.norms_after && !config.flag("_remove_final_layer_norm", false);
  parse_attention(config, decoder);
  parse_experts(config, decoder);
  parse_biases(config, decoder);
  refuse_unsupported(config, decoder);
  return decoder;
}

DecoderConfig read_decoder_config(const Checkpoint& checkpoint) {
  if (checkpoint.config() == nullptr) {
    throw_input(shown(checkpoint.path()) + ": no config.json: a forward pass needs the model's folder");
  }
  return parse_decoder_config(*checkpoint.config());
}

}  // namespace prune
