// Small decoder layers with random weights, of every family and variant that changes the computation.
#pragma once

#include <random>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "libprune/model/decoder/layer.h"

namespace prune::testing {

struct TinyFamily {
  std::string name;
  nlohmann::json config;

  // As if read from a file.
  DecoderConfig parse() const { return parse_decoder_config(nlohmann::json::parse(config.dump())); }
};

inline std::vector<TinyFamily> tiny_families() {
  const auto llama_like = [](const char* type, nlohmann::json more = nlohmann::json::object()) {
    nlohmann::json config = {{"model_type", type},
                             {"vocab_size", 16},
                             {"hidden_size", 8},
                             {"num_hidden_layers", 1},
                             {"num_attention_heads", 4},
                             {"num_key_value_heads", 2},
                             {"intermediate_size", 12},
                             {"head_dim", 4},
                             {"max_position_embeddings", 32},
                             {"hidden_act", "silu"}};
    config.update(more);
    return config;
  };
  const nlohmann::json opt = {{"model_type", "opt"},
                              {"vocab_size", 16},
                              {"hidden_size", 8},
                              {"num_hidden_layers", 1},
                              {"num_attention_heads", 2},
                              {"ffn_dim", 12},
                              {"max_position_embeddings", 32},
                              {"activation_function", "relu"}};
  nlohmann::json opt_after = opt;
  opt_after["do_layer_norm_before"] = false;
  return {
      {"llama", llama_like("llama", {{"attention_bias", true}, {"mlp_bias", true}})},
      {"mistral", llama_like("mistral", {{"sliding_window", 3}})},
      {"qwen2", llama_like("qwen2")},
      {"qwen3", llama_like("qwen3")},
      {"phi3", llama_like("phi3", {{"partial_rotary_factor", 0.5}})},
      {"gemma", llama_like("gemma", {{"hidden_act", "gelu_pytorch_tanh"}})},
      {"mixtral", llama_like("mixtral", {{"num_local_experts", 3}, {"num_experts_per_tok", 2}})},
      {"gpt2",
       {{"model_type", "gpt2"},
        {"vocab_size", 16},
        {"n_embd", 8},
        {"n_layer", 1},
        {"n_head", 2},
        {"n_positions", 32},
        {"activation_function", "gelu_new"}}},
      {"opt", opt},
      {"opt, norms after", opt_after},
  };
}

class RandomLayer {
 public:
  RandomLayer(const DecoderConfig& config, unsigned seed) : config_(config), rng_(seed) {}

  DecoderLayer make() {
    const ModuleNames& names = config_.family->names;
    DecoderLayer layer;
    layer.config = &config_;
    layer.attention_norm = norm("attention_norm", config_.width);
    const int64_t kv = config_.kv_heads * config_.head_dim;
    const int64_t separate[] = {config_.context_width(), kv, kv};
    for (size_t i = 0; i < names.qkv.size(); ++i) {
      layer.qkv.push_back(linear("qkv" + std::to_string(i),
                                 names.qkv.size() == 1 ? config_.qkv_width() : separate[i], config_.width,
                                 config_.qkv_bias));
    }
    if (!names.q_norm.empty()) {
      layer.q_norm = norm("q_norm", config_.head_dim);
      layer.k_norm = norm("k_norm", config_.head_dim);
    }
    layer.output = linear("output", config_.width, config_.context_width(), config_.attention_output_bias);
    layer.feed_forward_norm = norm("feed_forward_norm", config_.width);
    if (config_.has_experts()) layer.router = linear("router", config_.experts, config_.width, false);
    const auto parts = int64_t(names.expanding.size());
    for (int64_t e = 0; e < config_.experts; ++e) {
      FeedForward expert;
      const std::string prefix = "expert" + std::to_string(e);
      for (int64_t i = 0; i < parts; ++i) {
        expert.expanding.push_back(linear(prefix + " expanding" + std::to_string(i),
                                          config_.expanded_width() / parts, config_.width,
                                          config_.feed_forward_bias));
      }
      expert.contracting =
          linear(prefix + " contracting", config_.width, config_.inner, config_.feed_forward_bias);
      layer.experts.push_back(std::move(expert));
    }
    return layer;
  }

  FloatMatrix values(int64_t rows, int64_t cols, float scale) {
    FloatMatrix m(rows, cols);
    std::normal_distribution<float> normal(0, scale);
    for (int64_t i = 0; i < m.size(); ++i) m.data()[i] = normal(rng_);
    return m;
  }

 private:
  std::vector<float> vector(int64_t n, float mean, float scale) {
    std::normal_distribution<float> normal(mean, scale);
    std::vector<float> v;
    for (int64_t i = 0; i < n; ++i) v.push_back(normal(rng_));
    return v;
  }

  Linear linear(const std::string& name, int64_t out, int64_t in, bool has_bias) {
    Linear result;
    result.weight_name = name + ".weight";
    result.weight = values(out, in, 0.4F);
    if (has_bias) result.bias = vector(out, 0, 0.3F);
    result.out = out;
    result.in = in;
    return result;
  }

  Norm norm(const std::string& name, int64_t width) {
    Norm result;
    result.kind = config_.family->norm;
    result.epsilon = 1e-5F;
    result.weight_name = name + ".weight";
    result.weight = vector(width, 1, 0.2F);
    if (result.kind == NormKind::kLayer) result.bias = vector(width, 0, 0.2F);
    return result;
  }

  const DecoderConfig& config_;
  std::mt19937 rng_;
};

}  // namespace prune::testing
