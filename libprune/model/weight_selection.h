// Which tensors of a checkpoint are worked on. One answer for pruning, packing, verifying and inspecting.
#pragma once

#include <string>
#include <vector>

#include "libprune/io/checkpoint.h"
#include "libprune/model/architecture.h"
#include "libprune/model/name_filter.h"

namespace prune {

class WeightSelection {
 public:
  // The tensors that `include` names, whatever the architecture says of them; with an empty `include` those
  // that the architecture calls prunable. Of these, all that `exclude` does not name. Throws Error(kUsage)
  // for a pattern that does not parse (see NameFilter).
  explicit WeightSelection(const Checkpoint& checkpoint, const std::vector<std::string>& include = {},
                           const std::vector<std::string>& exclude = {});

  const Architecture& architecture() const { return architecture_; }

  struct Choice {
    bool chosen = false;
    Orientation orientation = Orientation::kOutIn;  // of a chosen one
    std::string reason = {};                        // why it is not chosen, for people
  };
  // Looks at the name, type and shape; of a packed weight give those of the dense tensor.
  Choice choose(const TensorInfo& tensor) const;

 private:
  Choice choose_before_exclude(const TensorInfo& tensor) const;

  Architecture architecture_;
  NameFilter include_;
  NameFilter exclude_;
};

}  // namespace prune
