// prune verify --pattern channels|heads|layers|experts|mixed: is a model what is left of another?
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "libprune/io/checkpoint.h"
#include "libprune/model/structured/structured_options.h"

namespace prune::app {

struct UnitPromise {
  UnitKind units = UnitKind::kChannels;
  std::optional<double> sparsity = {};  // share of the decoder blocks' parameters that went
};

// What of the promise does not hold, a line each: all tensors of the layers have the shapes that config.json
// says; against an original, the configuration has fewer of these units and is otherwise the same, at least
// the promised share went (to half a percent, which whole units may miss), and all tensors outside the layers
// are the original's bit for bit. Throws Error(kInput) for a model without a config.json, or of an
// architecture that is not known.
std::vector<std::string> check_units(const Checkpoint& model, const Checkpoint* original,
                                     const UnitPromise& promise);

}  // namespace prune::app
