#include "libprune/model/structured/cut.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include <prune/error.h>

namespace prune {
namespace {

Units all_of(int64_t count) {
  Units units(static_cast<size_t>(count));
  std::iota(units.begin(), units.end(), int64_t(0));
  return units;
}

void add_heads(Units& rows, int64_t first_head, const Units& heads, int64_t head_dim) {
  for (const int64_t head : heads) {
    for (int64_t i = 0; i < head_dim; ++i) rows.push_back((first_head + head) * head_dim + i);
  }
}

int64_t norm_parameters(const DecoderConfig& config) {
  const int64_t each = config.family->norm == NormKind::kLayer ? 2 : 1;
  const int64_t of_heads = config.family->names.q_norm.empty() ? 0 : 2 * config.head_dim;
  return each * (2 * config.width + of_heads);
}

}  // namespace

LayerCut whole_layer(const DecoderConfig& config, int64_t layer) {
  LayerCut cut{.layer = layer,
               .kv_heads = all_of(config.kv_heads),
               .heads = all_of(config.heads),
               .experts = all_of(config.experts),
               .channels = {}};
  cut.channels.assign(size_t(config.experts), all_of(config.inner));
  return cut;
}

Cut whole_model(const DecoderConfig& config) {
  Cut cut;
  for (int64_t layer = 0; layer < config.layers; ++layer) cut.layers.push_back(whole_layer(config, layer));
  return cut;
}

Units heads_of(const DecoderConfig& config, const Units& kv_heads) {
  const int64_t each = config.heads / config.kv_heads;
  Units heads;
  for (const int64_t kv_head : kv_heads) {
    for (int64_t i = 0; i < each; ++i) heads.push_back(kv_head * each + i);
  }
  return heads;
}

Units columns_of_heads(const DecoderConfig& config, const Units& heads) {
  Units columns;
  add_heads(columns, 0, heads, config.head_dim);
  return columns;
}

LayerSize size_of(const DecoderConfig& config) {
  return {config.kv_heads, config.heads, config.experts, config.inner};
}

LayerSize size_of(const LayerCut& cut) {
  const int64_t channels = cut.channels.empty() ? 0 : int64_t(cut.channels.front().size());
  return {int64_t(cut.kv_heads.size()), int64_t(cut.heads.size()), int64_t(cut.experts.size()), channels};
}

DecoderConfig resized(const DecoderConfig& config, const LayerSize& size) {
  DecoderConfig result = config;
  result.kv_heads = size.kv_heads;
  result.heads = size.heads;
  result.experts = size.experts;
  result.experts_per_token = std::min(config.experts_per_token, size.experts);
  result.inner = size.channels;
  return result;
}

DecoderConfig cut_config(const DecoderConfig& config, const Cut& cut) {
  if (cut.layers.empty()) throw_usage("a cut must leave a layer");
  const LayerSize size = size_of(cut.layers.front());
  if (std::min({size.kv_heads, size.heads, size.experts, size.channels}) < 1)
    throw_usage("a cut must leave one unit of each kind");
  if (size.heads % size.kv_heads != 0) throw_usage("a cut must leave all key heads as many query heads");
  DecoderConfig result = resized(config, size);
  result.layers = int64_t(cut.layers.size());
  result.windows.clear();
  result.attention_scales.clear();
  for (const LayerCut& layer : cut.layers) {
    const auto is_alike = [&](const Units& channels) { return int64_t(channels.size()) == size.channels; };
    if (!(size_of(layer) == size) || layer.channels.size() != layer.experts.size() ||
        !std::ranges::all_of(layer.channels, is_alike))
      throw_usage("a cut must leave all layers the same size: config.json has one for all");
    result.windows.push_back(config.windows[size_t(layer.layer)]);
    result.attention_scales.push_back(config.attention_scales[size_t(layer.layer)]);
  }
  return result;
}

int64_t layer_parameters(const DecoderConfig& c) {
  const int64_t attention = c.width * (c.qkv_width() + c.context_width()) + (c.qkv_bias ? c.qkv_width() : 0) +
                            (c.attention_output_bias ? c.width : 0);
  const int64_t feed_forward =
      c.width * (c.expanded_width() + c.inner) + (c.feed_forward_bias ? c.expanded_width() + c.width : 0);
  const int64_t router = c.has_experts() ? c.experts * c.width : 0;
  return attention + c.experts * feed_forward + router + norm_parameters(c);
}

int64_t block_parameters(const DecoderConfig& config) { return config.layers * layer_parameters(config); }

Units qkv_rows(const DecoderConfig& config, const LayerCut& cut, size_t linear, bool fused) {
  Units rows;
  if (fused || linear == 0) add_heads(rows, 0, cut.heads, config.head_dim);
  if (fused || linear == 1) add_heads(rows, fused ? config.heads : 0, cut.kv_heads, config.head_dim);
  if (fused || linear == 2)
    add_heads(rows, fused ? config.heads + config.kv_heads : 0, cut.kv_heads, config.head_dim);
  return rows;
}

Units expanding_rows(const DecoderConfig& config, const Units& channels, bool fused) {
  Units rows = channels;
  if (fused && config.family->is_gated) {
    for (const int64_t channel : channels) rows.push_back(config.inner + channel);
  }
  return rows;
}

void keep_rows(Linear& linear, const Units& rows) {
  FloatMatrix weight(int64_t(rows.size()), linear.in);
  for (size_t i = 0; i < rows.size(); ++i)
    std::copy_n(linear.weight.row(rows[i]), linear.in, weight.row(int64_t(i)));
  linear.weight = std::move(weight);
  linear.out = int64_t(rows.size());
  if (linear.bias.empty()) return;
  std::vector<float> bias;
  for (const int64_t row : rows) bias.push_back(linear.bias[size_t(row)]);
  linear.bias = std::move(bias);
}

void keep_columns(Linear& linear, const Units& columns) {
  FloatMatrix weight(linear.out, int64_t(columns.size()));
  for (int64_t i = 0; i < linear.out; ++i) {
    for (size_t j = 0; j < columns.size(); ++j) weight.row(i)[j] = linear.weight.row(i)[columns[j]];
  }
  linear.weight = std::move(weight);
  linear.in = int64_t(columns.size());
}

void cut_qkv(DecoderLayer& layer, const DecoderConfig& dense, const LayerCut& cut) {
  for (size_t i = 0; i < layer.qkv.size(); ++i)
    keep_rows(layer.qkv[i], qkv_rows(dense, cut, i, layer.qkv.size() == 1));
}

void cut_feed_forward(DecoderLayer& layer, const DecoderConfig& dense, const LayerCut& cut) {
  if (layer.router.out > 0) keep_rows(layer.router, cut.experts);
  std::vector<FeedForward> experts;
  for (size_t e = 0; e < cut.experts.size(); ++e) {
    FeedForward expert = std::move(layer.experts[size_t(cut.experts[e])]);
    const Units rows = expanding_rows(dense, cut.channels[e], expert.expanding.size() == 1);
    for (Linear& linear : expert.expanding) keep_rows(linear, rows);
    keep_columns(expert.contracting, cut.channels[e]);
    experts.push_back(std::move(expert));
  }
  layer.experts = std::move(experts);
}

}  // namespace prune
