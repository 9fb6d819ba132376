// What commands that run a whole model have in common.
#pragma once

#include <memory>

#include <nlohmann/json_fwd.hpp>

#include "apps/prune/command_line.h"
#include "libprune/model/runtime/prepared_decoder.h"
#include "libprune/model/runtime/ready_model.h"

namespace prune::app {

// --device cpu|cuda.
void add_device_option(CommandLine& line);
// Whether the model is to run on a GPU. Throws Error(kUsage) for another device.
bool on_gpu(const CommandLine& line);
// Before any work: throws Error(kRuntime), in words, where it is to and the GPU or this build can't, after
// Error(kUsage) for options of the commands with add_runtime_options() that have no meaning on a GPU.
void require_device(const CommandLine& line);

// Tokens of prompts that go through the model at once: enough for the products, and on a GPU for what is
// expanded for them.
inline constexpr int64_t kProcessorChunk = 512, kGpuChunk = 2048;

// --float32, --int8-inputs, --retune.
void add_runtime_options(CommandLine& line);

// Of the processor. Forgets what was measured where --retune asks for it.
RuntimeOptions runtime_options(const CommandLine& line);

// Loads the model to where --device says, and says on stderr, unless --quiet, how long that took and what it
// holds.
std::unique_ptr<ReadyModel> prepare_model(const CommandLine& line, const Checkpoint& checkpoint);

nlohmann::json prepared_json(const ReadyModel& model, const CommandLine& line);

}  // namespace prune::app
