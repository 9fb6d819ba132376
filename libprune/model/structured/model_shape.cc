#include "libprune/model/structured/model_shape.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>

#include <prune/error.h>

namespace prune {
namespace {

std::string percent(double share) {
  std::string text = std::to_string(std::round(share * 1000) / 10);
  return text.substr(0, text.find('.') + 2) + "%";
}

// The candidates, from most units kept to least.
struct Choice {
  std::string unit;  // "channel"
  std::vector<ModelShape> shapes;
};

std::vector<ModelShape> shapes_with(int64_t most, int64_t least, int64_t step,
                                    const std::function<ModelShape(int64_t)>& with) {
  std::vector<ModelShape> shapes;
  for (int64_t kept = most; kept >= least; kept -= step) shapes.push_back(with(kept));
  return shapes;
}

std::vector<ModelShape> channel_shapes(const DecoderConfig& config, const ModelShape& from,
                                       int64_t multiple) {
  if (multiple < 1) throw_usage("--multiple-of " + std::to_string(multiple) + ": expected 1 or more");
  if (multiple > config.inner) {
    throw_usage("--multiple-of " + std::to_string(multiple) + ": the layers have " +
                std::to_string(config.inner) + " channels");
  }
  std::vector<ModelShape> shapes = {from};
  const int64_t most = (config.inner - 1) / multiple * multiple;
  for (const ModelShape& shape : shapes_with(most, multiple, multiple, [&](int64_t kept) {
         ModelShape smaller = from;
         smaller.size.channels = kept;
         return smaller;
       }))
    shapes.push_back(shape);
  return shapes;
}

void require_heads(const DecoderConfig& config) {
  if (!config.family->derives_head_dim) return;
  throw_usage("pattern heads: the config.json of " + std::string(config.family->model_type) +
              " has no head_dim: its heads share the width and can't be removed");
}

void require_layers(const DecoderConfig& config) {
  if (layers_can_go(config)) return;
  throw_usage("pattern layers: attention in this " + std::string(config.family->model_type) +
              " model is scaled by the layer's number, which would change: they can't be removed");
}

Choice choices(const DecoderConfig& config, const StructuredOptions& options) {
  const ModelShape dense = shape_of(config);
  switch (options.units) {
    case UnitKind::kHeads:
      require_heads(config);
      return {"head", shapes_with(head_units(config), 1, 1, [&](int64_t kept) {
                return ModelShape{dense.layers, with_head_units(config, dense.size, kept)};
              })};
    case UnitKind::kLayers:
      require_layers(config);
      return {"layer", shapes_with(config.layers, 1, 1, [&](int64_t kept) {
                return ModelShape{kept, dense.size};
              })};
    case UnitKind::kExperts:
      if (!config.has_experts()) {
        throw_usage("pattern experts: a " + std::string(config.family->model_type) + " model has none");
      }
      return {"expert", shapes_with(config.experts, config.experts_per_token, 1, [&](int64_t kept) {
                ModelShape shape = dense;
                shape.size.experts = kept;
                return shape;
              })};
    default:
      return {"channel", channel_shapes(config, dense, options.multiple_of)};
  }
}

}  // namespace

ModelShape shape_of(const DecoderConfig& config) { return {config.layers, size_of(config)}; }

double share_removed(const DecoderConfig& config, const ModelShape& shape) {
  const int64_t left = shape.layers * layer_parameters(resized(config, shape.size));
  return 1 - double(left) / double(block_parameters(config));
}

ModelShape plan_shape(const DecoderConfig& config, const StructuredOptions& options) {
  const double sparsity = options.sparsity;
  const Choice choice = choices(config, options);
  const auto share = [&](const ModelShape& shape) { return share_removed(config, shape); };
  const auto nearest = std::ranges::min_element(
      choice.shapes, {}, [&](const ModelShape& shape) { return std::abs(share(shape) - sparsity); });
  const std::string subject = "sparsity " + percent(sparsity) + " of the decoder blocks: ";
  const double most = share(choice.shapes.back());
  const double step = choice.shapes.size() > 1 ? most - share(choice.shapes[choice.shapes.size() - 2]) : 1;
  if (choice.shapes.size() < 2 || sparsity > most + step / 2) {
    throw_usage(subject + "would leave too few " + choice.unit + "s; at most " + percent(most) +
                " can go that way");
  }
  if (nearest == choice.shapes.begin()) {
    throw_usage(subject + "is less than half of what one " + choice.unit + " step takes, " +
                percent(share(choice.shapes[1])));
  }
  return *nearest;
}

std::optional<ModelShape> with_channels(const DecoderConfig& config, const StructuredOptions& options,
                                        int64_t layers, int64_t heads) {
  const ModelShape from{layers, with_head_units(config, size_of(config), heads)};
  const std::vector<ModelShape> shapes = channel_shapes(config, from, options.multiple_of);
  const auto distance = [&](const ModelShape& shape) {
    return std::abs(share_removed(config, shape) - options.sparsity);
  };
  const auto nearest = std::ranges::min_element(shapes, {}, distance);
  const double step = shapes.size() > 1 ? share_removed(config, shapes.back()) -
                                              share_removed(config, shapes[shapes.size() - 2])
                                        : 0;
  if (distance(*nearest) > std::max(step / 2, 0.005) + 1e-9 || *nearest == shape_of(config))
    return std::nullopt;
  return *nearest;
}

bool layers_can_go(const DecoderConfig& config) {
  return std::ranges::adjacent_find(config.attention_scales, std::not_equal_to()) ==
         config.attention_scales.end();
}

int64_t head_units(const DecoderConfig& config) {
  return config.kv_heads == 1 ? config.heads : config.kv_heads;
}

LayerSize with_head_units(const DecoderConfig& config, LayerSize size, int64_t units) {
  const int64_t each = config.heads / config.kv_heads;
  size.kv_heads = config.kv_heads == 1 ? 1 : units;
  size.heads = config.kv_heads == 1 ? units : units * each;
  return size;
}

}  // namespace prune
