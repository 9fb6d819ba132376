// Whole models with random weights, small enough to train in a test.
#pragma once

#include <stdexcept>
#include <string>
#include <vector>

#include <prune/mask.h>

#include "libprune/model/train/trainable_model.h"
#include "test/libprune/model/decoder/tiny_layers.h"

namespace prune::testing {

inline DecoderConfig tiny_config(const std::string& family) {
  for (const TinyFamily& tiny : tiny_families()) {
    if (tiny.name != family) continue;
    nlohmann::json config = tiny.config;
    config[family == "gpt2" ? "n_layer" : "num_hidden_layers"] = 2;
    return TinyFamily{family, config}.parse();
  }
  throw std::invalid_argument(family);
}

// A model with random weights. `config` must outlive it.
inline TrainableModel random_model(const DecoderConfig& config, unsigned seed) {
  RandomLayer random(config, seed);
  TrainableModel model(config);
  model.embedding = {"embedding", random.values(config.vocabulary, config.width, 0.5F)};
  if (config.family->positions == PositionKind::kLearned)
    model.positions = {"positions", random.values(config.max_positions + config.family->position_offset,
                                                  config.width, 0.5F)};
  for (int64_t i = 0; i < config.layers; ++i) {
    model.layers.push_back(random.make());
    model.layers.back().index = i;
  }
  model.final_norm = model.layers[0].attention_norm;
  model.final_norm.weight_name = "final_norm";
  if (!config.ties_embedding) model.head = {"head", random.values(config.vocabulary, config.width, 0.5F)};
  return model;
}

// Of what is not zero in each linear layer.
inline std::vector<Mask> masks_of(const TrainableModel& model) {
  std::vector<Mask> masks;
  for (const DecoderLayer& layer : model.layers) {
    for (const Linear* linear : layer.linears())
      masks.push_back(nonzero_mask(view(linear->weight.data(), linear->out, linear->in)));
  }
  return masks;
}

}  // namespace prune::testing
