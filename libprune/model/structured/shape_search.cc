#include "libprune/model/structured/shape_search.h"

#include <algorithm>
#include <utility>

#include <prune/error.h>

#include "libprune/model/structured/config_edit.h"

namespace prune {
namespace {

struct Removed {
  int64_t layers = 0, heads = 0;
};

std::optional<ModelShape> shape_without(const DecoderConfig& config, const StructuredOptions& options,
                                        const Removed& removed) {
  const int64_t layers = config.layers - removed.layers, heads = head_units(config) - removed.heads;
  if (removed.layers > 0 && !layers_can_go(config)) return std::nullopt;
  if (layers < 1 || heads < 1 || (removed.heads > 0 && config.family->derives_head_dim)) return std::nullopt;
  const auto shape = with_channels(config, options, layers, heads);
  if (shape && shape->size.heads < config.heads && !loading_note(resized(config, shape->size)).empty())
    return std::nullopt;
  return shape;
}

}  // namespace

std::vector<ShapeTrial> search_shape(const DecoderConfig& config, const StructuredOptions& options,
                                     const std::function<double(const ModelShape&)>& measure) {
  std::vector<ShapeTrial> trials;
  std::vector<std::pair<ShapeTrial, Removed>> round;
  std::optional<ShapeTrial> best;
  // Where channels alone can't give the share, the first shapes that do.
  for (int64_t all = 0; round.empty() && all < config.layers + head_units(config); ++all) {
    for (int64_t layers = 0; layers <= all; ++layers) {
      const Removed removed{layers, all - layers};
      if (const auto shape = shape_without(config, options, removed))
        round.push_back({{*shape, share_removed(config, *shape), 0}, removed});
    }
  }
  while (!round.empty()) {
    for (auto& [trial, removed] : round) {
      trial.nats = measure(trial.shape);
      trials.push_back(trial);
    }
    const auto least = std::ranges::min_element(round, {}, [](const auto& r) { return r.first.nats; });
    if (best && least->first.nats >= best->nats) break;
    best = least->first;
    const Removed from = least->second;
    round.clear();
    // Two heads at once too: often no single one leaves a number that every reader takes.
    for (const Removed& step : {Removed{1, 0}, Removed{0, 1}, Removed{0, 2}}) {
      const Removed removed{from.layers + step.layers, from.heads + step.heads};
      const auto shape = shape_without(config, options, removed);
      const auto is_it = [&](const ShapeTrial& trial) { return shape && trial.shape == *shape; };
      if (shape && std::ranges::none_of(trials, is_it))
        round.push_back({{*shape, share_removed(config, *shape), 0}, removed});
    }
  }
  if (!best) throw_usage("pattern mixed: no layers, heads and channels make up that share");
  std::ranges::stable_sort(trials, {}, &ShapeTrial::nats);
  return trials;
}

}  // namespace prune
