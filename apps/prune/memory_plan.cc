#include "apps/prune/memory_plan.h"

#include <fmt/format.h>

#include "apps/prune/terminal.h"

namespace prune::app {

nlohmann::json memory_json(const MemoryEstimate& memory) {
  return {{"states", memory.states}, {"pruned", memory.pruned},   {"spilled", memory.spilled},
          {"layers", memory.layers}, {"moments", memory.moments}, {"batch", memory.batch},
          {"solver", memory.solver}, {"program", memory.program}, {"resident", memory.resident()}};
}

std::string memory_text(const MemoryEstimate& memory) {
  return fmt::format(
      "{} of memory: {} hidden states, {} pruned weights, less {} in a temporary file; {} weights of a "
      "layer, {} "
      "moments of its\ninputs, {} activations, {} for the largest matrix, {} program and libraries\n",
      human_bytes(memory.resident()), human_bytes(memory.states), human_bytes(memory.pruned),
      human_bytes(memory.spilled), human_bytes(memory.layers), human_bytes(memory.moments),
      human_bytes(memory.batch), human_bytes(memory.solver), human_bytes(memory.program));
}

}  // namespace prune::app
