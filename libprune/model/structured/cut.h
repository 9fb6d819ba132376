// What stays of a decoder when whole units of it go: layers, key and value heads with their query heads,
// channels of the feed-forward layers, experts.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "libprune/model/decoder/config.h"
#include "libprune/model/decoder/layer.h"

namespace prune {

using Units = std::vector<int64_t>;  // numbers in the dense model, ascending

struct LayerCut {
  int64_t layer = 0;  // its number in the dense model
  Units kv_heads;
  Units heads;  // query heads: of each key and value head that stays the same number
  Units experts;
  std::vector<Units> channels;  // of each expert that stays
};

struct Cut {
  std::vector<LayerCut> layers;  // those that stay
};

// A layer, and a model, of which all stays.
LayerCut whole_layer(const DecoderConfig& config, int64_t layer);
Cut whole_model(const DecoderConfig& config);

// The query heads of some key and value heads.
Units heads_of(const DecoderConfig& config, const Units& kv_heads);

// The columns of the output projection's input that belong to query heads.
Units columns_of_heads(const DecoderConfig& config, const Units& heads);

// How many of each unit a layer has.
struct LayerSize {
  int64_t kv_heads = 0, heads = 0, experts = 0, channels = 0;
  bool operator==(const LayerSize&) const = default;
};
LayerSize size_of(const DecoderConfig& config);
LayerSize size_of(const LayerCut& cut);

// The configuration with layers of another size, all layers still there.
DecoderConfig resized(const DecoderConfig& config, const LayerSize& size);
// The configuration of the model that is left. Throws Error(kUsage) for a cut that leaves nothing, or layers
// of different sizes, which no configuration can say.
DecoderConfig cut_config(const DecoderConfig& config, const Cut& cut);

// Parameters of one decoder layer, and of all: weights, biases and norms.
int64_t layer_parameters(const DecoderConfig& config);
int64_t block_parameters(const DecoderConfig& config);

// The rows of the linear layers at a place that stay, in the order of their outputs; `fused` where q, k and
// v, or gate and up, are one.
Units qkv_rows(const DecoderConfig& config, const LayerCut& cut, size_t linear, bool fused);
Units expanding_rows(const DecoderConfig& config, const Units& channels, bool fused);

// Leaves some outputs of a linear layer, or some inputs.
void keep_rows(Linear& linear, const Units& rows);
void keep_columns(Linear& linear, const Units& columns);

// Cut q, k and v, or the router and all experts, of a layer of the dense model. The caller sets the config
// that is true afterwards.
void cut_qkv(DecoderLayer& layer, const DecoderConfig& dense, const LayerCut& cut);
void cut_feed_forward(DecoderLayer& layer, const DecoderConfig& dense, const LayerCut& cut);

}  // namespace prune
