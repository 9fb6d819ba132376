// How long work tells its caller how far it is. The library itself prints nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

namespace prune {

// Called from any thread, one call at a time: `done` of `total` bytes are through; `what` is the tensor or
// file in hand.
using Progress = std::function<void(uint64_t done, uint64_t total, std::string_view what)>;

}  // namespace prune
