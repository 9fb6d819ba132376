// Quantities on the command line.
#pragma once

#include <cstddef>
#include <string>

namespace prune::app {

// "800M", "1.5G", "4 GB", "1000000": powers of ten, with or without B, in either case; Ki, Mi and Gi are
// powers of two. Throws Error(kUsage) naming the option.
size_t parse_bytes(const std::string& option, const std::string& text);

}  // namespace prune::app
