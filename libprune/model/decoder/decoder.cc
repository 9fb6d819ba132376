#include "libprune/model/decoder/decoder.h"

#include <algorithm>

#include <prune/error.h>

#include "libprune/io/text.h"

namespace prune {

Decoder::Decoder(const Checkpoint& checkpoint, Precision precision)
    : checkpoint_(checkpoint),
      precision_(precision),
      config_(read_decoder_config(checkpoint)),
      tensors_(checkpoint) {
  const ModuleNames& names = config_.family->names;
  const std::string embedding = std::string(names.embedding) + ".weight";
  const auto has_embedding = [&](std::string_view prefix) {
    return tensors_.has(std::string(prefix) + embedding);
  };
  const auto prefix = std::ranges::find_if(names.prefixes, has_embedding);
  if (prefix == names.prefixes.end()) {
    throw_input(shown(checkpoint.path()) + ": no tensor " +
                quote_name(std::string(names.prefixes.front()) + embedding));
  }
  prefix_ = *prefix;
  head_name_ = config_.ties_embedding ? prefix_ + embedding : "lm_head.weight";
}

std::string Decoder::module(std::string_view name) const { return prefix_ + std::string(name); }

std::string Decoder::layer_name(int64_t index) const {
  return prefix_ + std::string(config_.family->names.layers) + "." + std::to_string(index);
}

std::string Decoder::module(int64_t layer, std::string_view name) const {
  return layer_name(layer) + "." + std::string(name);
}

Linear Decoder::load_linear(const std::string& name, int64_t out, int64_t in, bool has_bias,
                            const ProductFactory& factory) const {
  Linear linear;
  linear.weight_name = name + ".weight";
  linear.precision = precision_;
  linear.orientation = config_.family->orientation;
  linear.out = out;
  linear.in = in;
  if (has_bias) linear.bias = tensors_.vector(name + ".bias", out);
  if (factory) linear.product = factory(linear.weight_name, linear.orientation, out, in, linear.bias);
  if (!linear.product) linear.weight = tensors_.matrix(linear.weight_name, out, in, linear.orientation);
  return linear;
}

Norm Decoder::load_norm(const std::string& name, int64_t width) const {
  Norm norm;
  norm.kind = config_.family->norm;
  norm.epsilon = config_.norm_epsilon;
  norm.weight_name = name + ".weight";
  norm.weight = tensors_.vector(norm.weight_name, width);
  for (float& w : norm.weight) w += config_.family->norm_weight_offset;
  if (norm.kind == NormKind::kLayer) norm.bias = tensors_.vector(name + ".bias", width);
  return norm;
}

FeedForward Decoder::load_feed_forward(int64_t layer, const std::string& expert,
                                       const ProductFactory& factory) const {
  const ModuleNames& names = config_.family->names;
  const int64_t share = config_.expanded_width() / int64_t(names.expanding.size());
  FeedForward result;
  for (const std::string_view name : names.expanding) {
    result.expanding.push_back(load_linear(module(layer, expert + std::string(name)), share, config_.width,
                                           config_.feed_forward_bias, factory));
  }
  result.contracting = load_linear(module(layer, expert + std::string(names.contracting)), config_.width,
                                   config_.inner, config_.feed_forward_bias, factory);
  return result;
}

void Decoder::load_attention(DecoderLayer& layer, const ProductFactory& factory) const {
  const ModuleNames& names = config_.family->names;
  const int64_t kv_width = config_.kv_heads * config_.head_dim;
  const int64_t separate[] = {config_.context_width(), kv_width, kv_width};
  for (size_t i = 0; i < names.qkv.size(); ++i) {
    const int64_t out = names.qkv.size() == 1 ? config_.qkv_width() : separate[i];
    layer.qkv.push_back(
        load_linear(module(layer.index, names.qkv[i]), out, config_.width, config_.qkv_bias, factory));
  }
  if (!names.q_norm.empty()) {
    layer.q_norm = load_norm(module(layer.index, names.q_norm), config_.head_dim);
    layer.k_norm = load_norm(module(layer.index, names.k_norm), config_.head_dim);
  }
  layer.output = load_linear(module(layer.index, names.output), config_.width, config_.context_width(),
                             config_.attention_output_bias, factory);
}

DecoderLayer Decoder::load_layer(int64_t index, const ProductFactory& factory) const {
  const ModuleNames& names = config_.family->names;
  DecoderLayer layer;
  layer.config = &config_;
  layer.index = index;
  layer.attention_norm = load_norm(module(index, names.attention_norm), config_.width);
  load_attention(layer, factory);
  layer.feed_forward_norm = load_norm(module(index, names.feed_forward_norm), config_.width);
  if (!config_.has_experts()) {
    layer.experts.push_back(load_feed_forward(index, "", factory));
    return layer;
  }
  layer.router = load_linear(module(index, names.router), config_.experts, config_.width, false, {});
  for (int64_t e = 0; e < config_.experts; ++e) {
    layer.experts.push_back(
        load_feed_forward(index, std::string(names.experts) + "." + std::to_string(e) + ".", factory));
  }
  return layer;
}

void Decoder::embed(std::span<const int32_t> ids, const Sequences& sequences, float* hidden) const {
  const std::string name = embedding_name();
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= config_.vocabulary) {
      throw_input("token id " + std::to_string(ids[i]) + " at position " + std::to_string(i) +
                  " is outside the model's vocabulary of " + std::to_string(config_.vocabulary));
    }
    float* row = hidden + int64_t(i) * config_.width;
    tensors_.rows(name, config_.vocabulary, config_.width, ids[i], 1, row);
    for (int64_t c = 0; c < config_.width; ++c) row[c] *= config_.embedding_scale;
  }
  if (config_.family->positions == PositionKind::kLearned) add_positions(sequences, hidden);
}

void Decoder::add_positions(const Sequences& sequences, float* hidden) const {
  const FloatMatrix positions = load_positions();
  for (int64_t s = 0; s < sequences.count(); ++s) {
    if (sequences.length(s) > config_.max_positions) {
      throw_input("a sequence of " + std::to_string(sequences.length(s)) + " tokens is longer than the " +
                  std::to_string(config_.max_positions) + " positions that the model has learned");
    }
    const float* from = positions.row(config_.family->position_offset);
    float* to = hidden + sequences.begin(s) * config_.width;
    for (int64_t i = 0; i < sequences.length(s) * config_.width; ++i) to[i] += from[i];
  }
}

std::string Decoder::embedding_name() const {
  return module(std::string(config_.family->names.embedding) + ".weight");
}

std::string Decoder::positions_name() const {
  return module(std::string(config_.family->names.positions) + ".weight");
}

void Decoder::load_embedding_rows(int64_t first, int64_t count, float* out) const {
  tensors_.rows(embedding_name(), config_.vocabulary, config_.width, first, count, out);
}

FloatMatrix Decoder::load_positions() const {
  const int64_t rows = config_.max_positions + config_.family->position_offset;
  FloatMatrix positions(rows, config_.width);
  tensors_.rows(positions_name(), rows, config_.width, 0, rows, positions.data());
  return positions;
}

Norm Decoder::load_final_norm() const {
  if (!config_.has_final_norm) return {};
  return load_norm(module(config_.family->names.final_norm), config_.width);
}

void Decoder::load_head_rows(int64_t first, int64_t count, float* out) const {
  tensors_.rows(head_name_, config_.vocabulary, config_.width, first, count, out);
}

}  // namespace prune
