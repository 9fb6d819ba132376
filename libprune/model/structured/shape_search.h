// How many layers, heads and channels to remove when a share of all parameters has to go.
#pragma once

#include <functional>
#include <vector>

#include "libprune/model/structured/layer_report.h"

namespace prune {

// Goes from no layers and heads removed to the neighbour with one more of either, as long as one is better;
// channels make up the share. `measure` gives the loss of a model of a shape, to be called once for each. The
// best trial comes first. Shapes that readers of the config object to are not tried. Throws Error(kUsage)
// where no shape gives the share.
std::vector<ShapeTrial> search_shape(const DecoderConfig& config, const StructuredOptions& options,
                                     const std::function<double(const ModelShape&)>& measure);

}  // namespace prune
