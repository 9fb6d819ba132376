// Writing a small text file whole.
#pragma once

#include <filesystem>
#include <string_view>

namespace prune::app {

// Finds out at once, before any work, that a file could not be written there later. Throws Error(kUsage) for
// a folder and for a file in a folder that does not exist, Error(kRuntime) where writing is not allowed or
// the name is too long.
void require_writable(const std::filesystem::path& path);

// A file, where links lead to, is written beside and renamed. A device, a FIFO and what is open already
// (/dev/stdout, /dev/fd/3) is written to, after what it holds. Throws Error(kRuntime).
void write_text_file(const std::filesystem::path& path, std::string_view text);

}  // namespace prune::app
