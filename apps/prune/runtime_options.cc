#include "apps/prune/runtime_options.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include <prune/error.h>

#include "apps/prune/gpu_driver.h"
#include "apps/prune/gpu_model.h"
#include "apps/prune/terminal.h"
#include "libprune/model/tuning.h"

namespace prune::app {
namespace {

std::string kernels_in_words(const PreparedWeights& prepared) {
  std::string text;
  for (const auto& [name, layers] : prepared.kernels)
    text += fmt::format("{}{} on {}", text.empty() ? "" : ", ", layers, name);
  return text;
}

std::string prepared_in_words(const ReadyModel& model, bool is_on_gpu) {
  const PreparedWeights& p = model.prepared();
  std::string text = fmt::format("ready in {:.2f} s: {} linear layers ({})", model.seconds(),
                                 p.packed + p.dense, kernels_in_words(p));
  if (p.bytes > 0)
    text += fmt::format(", {} {}", human_bytes(p.bytes), is_on_gpu ? "in GPU memory" : "laid out in memory");
  if (p.in_place > 0) text += fmt::format(", {} read where they lie in the files", human_bytes(p.in_place));
  return text + "\n";
}

}  // namespace

void add_device_option(CommandLine& line) {
  line.options()("device", po::value<std::string>()->default_value("cpu")->value_name("D"),
                 "where to run: cpu or cuda, where --threads counts for loading only")(
      "lean", po::bool_switch(),
      "with --device cuda: unstructured weights are not kept dense as well, which makes prompts and batches "
      "slower");
}

bool on_gpu(const CommandLine& line) {
  const std::string device = *line.maybe_text("device");
  if (device != "cpu" && device != "cuda")
    throw_usage(fmt::format("--device {}: expected cpu or cuda", quote_name(device)));
  return device == "cuda";
}

void require_device(const CommandLine& line) {
  if (!on_gpu(line)) {
    if (line.flag("lean")) throw_usage("--lean is for --device cuda: on the processor nothing is kept twice");
    return;
  }
  struct Refused {
    const char* option;
    const char* reason;
  };
  for (const Refused& refused : {Refused{"float32", "inputs of products are bf16 on the GPU"},
                                 {"int8-inputs", "int8 weights meet bf16 inputs on the GPU"},
                                 {"retune", "what is measured on the GPU is not kept"},
                                 {"memory", "on the GPU the whole model is held"}}) {
    if (line.has(refused.option))
      throw_usage(fmt::format("--{} is for the processor: {}", refused.option, refused.reason));
  }
  require_gpu_kernels(ask_gpu_driver());
}

void add_runtime_options(CommandLine& line) {
  line.options()(
      "float32", po::bool_switch(),
      "multiply in float32: without, layers of bf16 or int8 weights round their inputs to bf16 where the "
      "processor multiplies that")("int8-inputs", po::bool_switch(),
                                   "where a prompt meets int8 weights with a scale per row, in 2:4 or "
                                   "blocks, and the processor has AVX-512 "
                                   "BF16: round its activations to int8, token by token")(
      "retune", po::bool_switch(),
      "measure again from which batch on dense products are faster on this machine");
}

RuntimeOptions runtime_options(const CommandLine& line) {
  RuntimeOptions options;
  options.int8_inputs = line.flag("int8-inputs");
  if (options.int8_inputs && line.flag("float32"))
    throw_usage("--float32 rounds nothing: leave out --int8-inputs");
  if (line.flag("float32")) options.rounding = Rounding::kNone;
  if (line.flag("retune")) TuningTable::of_user().clear();
  return options;
}

std::unique_ptr<ReadyModel> prepare_model(const CommandLine& line, const Checkpoint& checkpoint) {
  const bool is_on_gpu = on_gpu(line);
  const RuntimeOptions options = runtime_options(line);
  const bool quiet = line.flag("quiet");
  std::optional<ProgressBar> bar;
  if (!quiet) bar.emplace("loading", ProgressUnit::kCount);
  const Progress progress = bar ? bar->callback() : Progress();
  std::unique_ptr<ReadyModel> model;
  if (is_on_gpu) {
    model = prepare_on_gpu(checkpoint, line.flag("lean"), progress);
  } else {
    model = std::make_unique<PreparedDecoder>(checkpoint, options, progress);
  }
  bar.reset();
  if (!quiet) say(prepared_in_words(*model, is_on_gpu));
  return model;
}

nlohmann::json prepared_json(const ReadyModel& model, const CommandLine& line) {
  const PreparedWeights& p = model.prepared();
  return {{"device", *line.maybe_text("device")},
          {"load_seconds", model.seconds()},
          {"packed_layers", p.packed},
          {"dense_layers", p.dense},
          {"prepared_bytes", p.bytes},
          {"in_place_bytes", p.in_place},
          {"kernels", p.kernels},
          {"prompt_kernels", p.prompt_kernels}};
}

}  // namespace prune::app
