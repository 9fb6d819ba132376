// Plans and reports as JSON: the program's --json and --report, and the notes that a resumed run takes up.
#pragma once

#include <filesystem>
#include <vector>

#include <nlohmann/json.hpp>

#include <prune/report.h>

#include "libprune/model/prune_plan.h"

namespace prune {

std::string_view to_string(Scope scope);            // "row", "layer", "global"
std::string_view to_string(BlockNorm norm);         // "l1", "l2"
std::string_view to_string(Allocation allocation);  // "uniform", "owl", "error"

// The options that decide the result (threads and memory do not).
nlohmann::json to_json(const CalibrationOptions& options);
nlohmann::json to_json(const PruneOptions& options);
nlohmann::json to_json(const std::vector<TensorReport>& tensors);
std::vector<TensorReport> tensor_reports_from_json(const nlohmann::json& json);
nlohmann::json to_json(const PruneReport& report);
nlohmann::json to_json(const TrainingStep& step);

// The head of a report: what is to be done, with no tensors yet.
PruneReport describe_pass(const Checkpoint& checkpoint, const PrunePlan& plan,
                          const std::filesystem::path& output);

}  // namespace prune
