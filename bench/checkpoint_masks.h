// The shapes of a checkpoint's linear weights, and where the zeros of a real layer are.
#pragma once

#include <string>
#include <vector>

#include "bench/weights.h"

namespace prune::bench {

struct LayerMask {
  std::string layer;  // "model.layers.0.mlp.up_proj"
  Places places;
  int percent = 0;  // of zeros, rounded
};

// Of each shape the first layer of a dense or packed checkpoint. Throws Error(kInput).
std::vector<LayerMask> masks_of_checkpoint(const std::string& path);

}  // namespace prune::bench
