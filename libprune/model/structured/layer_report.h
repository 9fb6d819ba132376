// What structured pruning did.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "libprune/model/structured/model_shape.h"

namespace prune {

struct LayerReport {
  int64_t layer = 0;  // in the dense model
  bool stays = true;
  Units heads_gone = {};  // query heads
  Units kv_heads_gone = {};
  Units experts_gone = {};
  std::vector<Units> channels_gone = {};  // of each expert that stays
  // Relative squared errors of the outputs of the two halves on the same inputs, where they were measured; of
  // several experts the mean.
  std::optional<double> attention_error = {};
  std::optional<double> feed_forward_error = {};
  // Of training the layer: the loss before and after.
  std::optional<double> loss_before = {}, loss_after = {};
};

LayerReport describe_cut(const DecoderConfig& config, const LayerCut& cut);

// A shape that was tried.
struct ShapeTrial {
  ModelShape shape;
  double share = 0;
  double nats = 0;  // loss on calibration text that no moment was taken from
};

struct StructuredReport {
  std::string model, output, pattern, method;
  double sparsity = 0;  // asked for
  double achieved = 0;
  ModelShape before, after;
  int64_t parameters_before = 0, parameters_after = 0;  // of the decoder blocks
  uint64_t bytes_before = 0, bytes_after = 0;           // of the shards
  std::vector<LayerReport> layers;
  std::vector<ShapeTrial> trials;
  std::vector<std::string> notes;
  double seconds = 0;
};

nlohmann::json to_json(const ModelShape& shape);
nlohmann::json to_json(const StructuredReport& report);

}  // namespace prune
