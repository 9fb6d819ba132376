// The state of a training in a file, so that a killed run goes on where it was.
#pragma once

#include <filesystem>
#include <functional>

#include <nlohmann/json_fwd.hpp>

#include "libprune/model/train/state_visitor.h"

namespace prune {

// A safetensors file of bytes, a tensor for each piece of the state in the order of the visit, and in its
// metadata the job that it belongs to.
using VisitState = std::function<void(StateVisitor&)>;

// ".NAME.training" beside the output NAME.
std::filesystem::path training_state_path(const std::filesystem::path& output);

// Puts the state in place of an older one in one step, once it is on disk. Throws Error(kRuntime).
void save_training_state(const std::filesystem::path& file, const nlohmann::json& job,
                         const VisitState& visit);

// Puts the pieces of the state back. Throws Error(kUsage) where the file belongs to another job, naming what
// differs (the learning rate may), Error(kInput) where it holds other pieces.
void load_training_state(const std::filesystem::path& file, const nlohmann::json& job,
                         const VisitState& visit);

}  // namespace prune
