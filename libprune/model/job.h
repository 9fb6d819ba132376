// What identifies a piece of work, so that a later run can tell whether it may take over what an earlier one
// finished.
#pragma once

#include <string_view>

#include <nlohmann/json.hpp>

#include "libprune/io/checkpoint.h"

namespace prune {

// The kind of work, the model's path, every shard's name, size and time of last change, and the options that
// decide the result.
nlohmann::json describe_job(std::string_view kind, const Checkpoint& checkpoint,
                            const nlohmann::json& options);

}  // namespace prune
