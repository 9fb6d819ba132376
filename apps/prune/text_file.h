// Writing a small text file whole.
#pragma once

#include <filesystem>
#include <string_view>

namespace prune::app {

// Written beside and renamed. Throws Error(kRuntime).
void write_text_file(const std::filesystem::path& path, std::string_view text);

}  // namespace prune::app
