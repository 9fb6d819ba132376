#include "libprune/model/structured/layer_report.h"

#include <algorithm>

namespace prune {
namespace {

Units missing(const Units& kept, int64_t all) {
  Units gone;
  for (int64_t unit = 0; unit < all; ++unit) {
    if (!std::ranges::binary_search(kept, unit)) gone.push_back(unit);
  }
  return gone;
}

void put(nlohmann::json& json, const char* key, const std::optional<double>& value) {
  if (value) json[key] = *value;
}

nlohmann::json to_json(const LayerReport& layer) {
  nlohmann::json json = {{"layer", layer.layer}, {"stays", layer.stays}};
  if (!layer.stays) return json;
  json["heads_gone"] = layer.heads_gone;
  json["kv_heads_gone"] = layer.kv_heads_gone;
  json["experts_gone"] = layer.experts_gone;
  json["channels_gone"] = layer.channels_gone;
  put(json, "attention_error", layer.attention_error);
  put(json, "feed_forward_error", layer.feed_forward_error);
  put(json, "loss_before_training", layer.loss_before);
  put(json, "loss_after_training", layer.loss_after);
  return json;
}

}  // namespace

nlohmann::json to_json(const ModelShape& shape) {
  return {{"layers", shape.layers},
          {"heads", shape.size.heads},
          {"kv_heads", shape.size.kv_heads},
          {"channels", shape.size.channels},
          {"experts", shape.size.experts}};
}

LayerReport describe_cut(const DecoderConfig& config, const LayerCut& cut) {
  LayerReport report{.layer = cut.layer};
  report.heads_gone = missing(cut.heads, config.heads);
  report.kv_heads_gone = missing(cut.kv_heads, config.kv_heads);
  report.experts_gone = missing(cut.experts, config.experts);
  for (const Units& channels : cut.channels) report.channels_gone.push_back(missing(channels, config.inner));
  return report;
}

nlohmann::json to_json(const StructuredReport& report) {
  nlohmann::json layers = nlohmann::json::array(), trials = nlohmann::json::array();
  for (const LayerReport& layer : report.layers) layers.push_back(to_json(layer));
  for (const ShapeTrial& trial : report.trials)
    trials.push_back({{"shape", to_json(trial.shape)}, {"share", trial.share}, {"nats", trial.nats}});
  return {{"model", report.model},
          {"output", report.output},
          {"pattern", report.pattern},
          {"method", report.method},
          {"sparsity", {{"requested", report.sparsity}, {"achieved", report.achieved}}},
          {"before", to_json(report.before)},
          {"after", to_json(report.after)},
          {"block_parameters", {{"before", report.parameters_before}, {"after", report.parameters_after}}},
          {"bytes", {{"before", report.bytes_before}, {"after", report.bytes_after}}},
          {"layers", layers},
          {"trials", trials},
          {"notes", report.notes},
          {"seconds", report.seconds}};
}

}  // namespace prune
