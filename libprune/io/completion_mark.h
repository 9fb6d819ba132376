// A finished output remembers the job that made it, in an extended attribute of its folder or file: no file
// of its own, so that the output holds what the input holds. Where the file system keeps no attributes there
// is no mark.
#pragma once

#include <filesystem>

#include <nlohmann/json.hpp>

namespace prune {

// Marks an output, whose files are all written, as what `job` makes. Only a hint: failing is no error.
void mark_complete(const std::filesystem::path& output, const nlohmann::json& job) noexcept;

// True when the output bears the mark of the same job, and every file in it has the name, size and time of
// last change that it had then.
bool is_marked_complete(const std::filesystem::path& output, const nlohmann::json& job) noexcept;

}  // namespace prune
