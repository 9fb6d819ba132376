// Errors about one tensor of a checkpoint, with its place in front.
#pragma once

#include <string>

#include <prune/error.h>

#include "libprune/io/safetensors.h"
#include "libprune/io/text.h"

namespace prune {

// "model-00001-of-00002.safetensors: tensor 'model.layers.0.mlp.up_proj.weight'", safe for a line of output.
inline std::string place_of(const SafetensorsFile& shard, const TensorInfo& tensor) {
  return shown(shard.path().filename()) + ": tensor " + quote_name(tensor.name);
}

// Calls body(). An Error(kInput) that leaves it is given the tensor's place.
template <class Body>
decltype(auto) with_place_in_errors(const SafetensorsFile& shard, const TensorInfo& tensor, Body&& body) {
  try {
    return body();
  } catch (const Error& fault) {
    if (fault.kind() != ErrorKind::kInput) throw;
    throw_input(place_of(shard, tensor) + ": " + fault.what());
  }
}

}  // namespace prune
