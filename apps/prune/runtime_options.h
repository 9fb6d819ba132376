// What commands that run a whole model have in common.
#pragma once

#include <memory>

#include <nlohmann/json_fwd.hpp>

#include "apps/prune/command_line.h"
#include "libprune/model/runtime/prepared_decoder.h"

namespace prune::app {

// --float32, --int8-inputs, --retune.
void add_runtime_options(CommandLine& line);

// Forgets what was measured where --retune asks for it.
RuntimeOptions runtime_options(const CommandLine& line);

// Loads the model and says on stderr, unless --quiet, how long that took and what it holds.
std::unique_ptr<PreparedDecoder> prepare_decoder(const CommandLine& line, const Checkpoint& checkpoint);

nlohmann::json prepared_json(const PreparedDecoder& model);

}  // namespace prune::app
