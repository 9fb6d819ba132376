// Errors about one tensor of a checkpoint, with its place in front.
#pragma once

#include <string>

#include <prune/error.h>

#include "libprune/io/safetensors.h"
#include "libprune/io/text.h"
#include "libprune/model/architecture.h"

namespace prune {

// "model-00001-of-00002.safetensors: tensor 'model.layers.0.mlp.up_proj.weight'", safe for a line of output.
inline std::string place_of(const SafetensorsFile& shard, const TensorInfo& tensor) {
  return shown(shard.path().filename()) + ": tensor " + quote_name(tensor.name);
}

// Calls body(). An Error(kInput) that leaves it is given the tensor's place, and is told which rows it means
// where the file stores the matrix the other way round.
template <class Body>
decltype(auto) with_place_in_errors(const SafetensorsFile& shard, const TensorInfo& tensor,
                                    Orientation orientation, Body&& body) {
  try {
    return body();
  } catch (const Error& fault) {
    if (fault.kind() != ErrorKind::kInput) throw;
    const char* order = orientation == Orientation::kInOut ? " as [out, in] (the file has [in, out])" : "";
    throw_input(place_of(shard, tensor) + order + ": " + fault.what());
  }
}

}  // namespace prune
