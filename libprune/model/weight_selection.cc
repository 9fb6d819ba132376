#include "libprune/model/weight_selection.h"

namespace prune {

WeightSelection::WeightSelection(const Checkpoint& checkpoint, const std::vector<std::string>& include,
                                 const std::vector<std::string>& exclude)
    : architecture_(checkpoint), include_(include), exclude_(exclude) {}

WeightSelection::Choice WeightSelection::choose(const TensorInfo& tensor) const {
  Choice choice = choose_before_exclude(tensor);
  if (choice.chosen && exclude_.matches(tensor.name)) return {.reason = "excluded"};
  return choice;
}

WeightSelection::Choice WeightSelection::choose_before_exclude(const TensorInfo& tensor) const {
  if (include_.empty()) {
    Architecture::Role role = architecture_.role(tensor);
    return {.chosen = role.prunable, .orientation = role.orientation, .reason = std::move(role.reason)};
  }
  if (!include_.matches(tensor.name)) return {.reason = "not included"};
  if (const auto reason = unprunable_reason(tensor)) return {.reason = "included, but " + *reason};
  return {.chosen = true, .orientation = architecture_.orientation(tensor.name)};
}

}  // namespace prune
