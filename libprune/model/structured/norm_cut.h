// Which units to remove by their weights alone.
#pragma once

#include "libprune/model/decoder/decoder.h"
#include "libprune/model/structured/model_shape.h"

namespace prune {

// The cut to a shape, without the layers of `gone`, that keeps in each layer the units with the largest sum
// of squares of all weights that would go with them.
Cut cut_by_norm(const Decoder& decoder, const ModelShape& shape, const Units& gone);

// The places of the `count` largest scores, ascending; of equal ones the first.
Units largest(const std::vector<double>& scores, int64_t count);

}  // namespace prune
