// What identifies a piece of work, so that a later run can tell whether it may take over what an earlier one
// finished.
#pragma once

#include <filesystem>
#include <string_view>

#include <nlohmann/json.hpp>

#include "libprune/io/checkpoint.h"

namespace prune {

// The kind of work, the model's path, the name, size and time of last change of every shard and of every
// other file that is copied, and the options that decide the result.
nlohmann::json describe_job(std::string_view kind, const Checkpoint& checkpoint,
                            const nlohmann::json& options);

// Of one file: name, size and time of last change. Throws Error(kInput) where it can't be read.
nlohmann::json describe_file(const std::filesystem::path& folder, const std::filesystem::path& name);

}  // namespace prune
