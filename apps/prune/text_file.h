// Writing a small text file whole.
#pragma once

#include <filesystem>
#include <string_view>

namespace prune::app {

// Finds out at once, before any work, that a file could not be written there later. Throws Error(kUsage) for
// a folder and for a file in a folder that does not exist, Error(kRuntime) where writing is not allowed.
void require_writable(const std::filesystem::path& path);

// A file, where links lead to, is written beside and renamed; a device or a FIFO is written to. Throws
// Error(kRuntime).
void write_text_file(const std::filesystem::path& path, std::string_view text);

}  // namespace prune::app
