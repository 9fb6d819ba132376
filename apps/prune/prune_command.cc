// prune [MODEL] -o OUT --sparsity S --pattern P: the pass itself.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include <prune/error.h>

#include "apps/prune/calibration.h"
#include "apps/prune/command.h"
#include "apps/prune/exit_codes.h"
#include "apps/prune/filters.h"
#include "apps/prune/html_report.h"
#include "apps/prune/layer_rows.h"
#include "apps/prune/memory_plan.h"
#include "apps/prune/output_place.h"
#include "apps/prune/structured_command.h"
#include "apps/prune/terminal.h"
#include "apps/prune/training.h"
#include "libprune/model/calibrated/layer_method.h"
#include "libprune/model/calibrated/memory_estimate.h"
#include "libprune/model/checkpoint_rewrite.h"
#include "libprune/model/method.h"
#include "libprune/model/packed_checkpoint.h"
#include "libprune/model/report_json.h"

namespace prune::app {
namespace {

std::string help_text() {
  std::string text =
      "Patterns (--pattern):\n"
      "  2:4, 4:8, 1:4, N:M   keep N of every M consecutive weights of a row, 1 <= N < M <= 32; sparsity is "
      "1 - N/M\n"
      "  unstructured         any weight may go\n"
      "  16x16, RxC           blocks of R rows x C columns go or stay as one\n" +
      structured_help() +
      "\nMethods for weights (--method); gradual and movement need --train, the others "
      "but magnitude --calib:\n";
  for (const Method& method : methods()) text += fmt::format("  {:<20} {}\n", method.name, method.summary);
  text += "\nCommands (prune COMMAND --help):\n";
  for (const Command& command : kCommands)
    text += fmt::format("  {:<20} {}\n", command.name, command.summary);
  text +=
      "\nExamples:\n"
      "  prune --sparsity 0.5 --pattern 2:4                     the model in this folder, into ../NAME-2of4\n"
      "  prune Llama-3-8B -o sparse --pattern 2:4 --dry-run     show what would be pruned\n"
      "  prune Llama-3-8B --sparsity 0.7 --pattern unstructured --scope global\n"
      "  prune Llama-3-8B --pattern 16x16 --sparsity 0.5 --exclude '*.down_proj'\n"
      "  prune Llama-3-8B --pattern 2:4 --method admm --calib ids.npy --samples 256\n"
      "  prune Llama-3-8B --pattern channels --sparsity 0.25 --method obs --calib text.jsonl\n"
      "  prune Llama-3-8B -p 16x16 -s 0.5 --method movement --train text.jsonl --teacher Llama-3-8B\n"
      "\nExit codes: 0 done, 1 failed while running, 2 usage, 3 input refused, 4 verify or bench found a "
      "mismatch,\n130 interrupted.\n"
      "A model in a folder that is named like a command is ./NAME.";
  return text;
}

CommandLine make_prune_line() {
  CommandLine line(
      "prune [MODEL] [-o OUT] --sparsity S --pattern P [options]\n       prune COMMAND ...",
      "Prunes the linear layers of a Hugging Face checkpoint (a folder, or one .safetensors file; default: "
      "this\n"
      "folder) and writes a checkpoint of the same names, types, shapes and files with zeros in place.",
      help_text());
  line.positional("model");
  line.options()("sparsity,s", po::value<double>()->value_name("S"),
                 "share of the weights that become zero, 0 <= S < 1; N:M decides it alone")(
      "pattern,p", po::value<std::string>()->default_value("2:4")->value_name("P"),
      "which weights may go, see below")(
      "method,m", po::value<std::string>()->default_value("magnitude")->value_name("M"),
      "how weights are scored, see below")(
      "scope", po::value<std::string>()->default_value("layer")->value_name("row|layer|global"),
      "over what unstructured and block patterns share the sparsity")(
      "block-norm", po::value<std::string>()->default_value("l2")->value_name("l1|l2"),
      "by which norm magnitude scores a block");
  add_calibration_options(line);
  add_structured_options(line);
  add_training_options(line);
  add_mask_options(line);
  add_selection_options(line);
  line.options()("skip-unfit", po::bool_switch(),
                 "leave tensors dense that can't take the pattern, instead of refusing");
  add_output_options(line);
  line.options()("dry-run,n", po::bool_switch(), "show the plan, write nothing")(
      "report", po::value<std::string>()->value_name("FILE"),
      "write the report per tensor: JSON, or a page when FILE ends in .html");
  add_running_options(line);
  return line;
}

PruneOptions read_prune_options(const CommandLine& line) {
  refuse_structured_options(line, line.text("pattern"));
  PruneOptions options;
  options.method = line.text("method");
  options.pattern = parse_pattern(line.text("pattern"));
  options.sparsity = line.maybe_number("sparsity");
  options.scope = parse_scope(line.text("scope"));
  options.block_norm = parse_block_norm(line.text("block-norm"));
  options.include = line.texts("include");
  options.exclude = line.texts("exclude");
  options.skip_unfit = line.flag("skip-unfit");
  options.threads = line.threads();
  const Method& method = find_method(options.method);
  if (method.trains) {
    refuse_calibration_options(line, options.method, ShareTrainingOptions::kYes);
    options.trained = read_training(line);
    options.trained.masks = read_masks(line);
  } else {
    const LayerMethod* layer_method = find_layer_method(options.method);
    const bool trains_layers = layer_method != nullptr && layer_method->reconstructs;
    refuse_training_options(line, options.method, TrainsLayers(trains_layers));
    options.calibration = read_calibration(line);
  }
  if (!method.needs_calibration && !method.trains) refuse_calibration_options(line, options.method);
  if (method.trains && line.has("block-norm"))
    throw_usage("--block-norm: method " + options.method + " has its own");
  if (const LayerMethod* layer_method = find_layer_method(options.method)) {
    if (line.has("scope")) throw_usage("--scope: method " + options.method + " has its own");
    if (line.has("block-norm")) throw_usage("--block-norm: method " + options.method + " has its own");
    if (!std::holds_alternative<Block>(options.pattern)) options.scope = layer_method->scope;
    if (std::holds_alternative<NM>(options.pattern)) options.scope = Scope::kLayer;
  }
  resolve_sparsity(options.pattern, options.sparsity);
  return options;
}

Checkpoint open_model(const CommandLine& line) {
  const std::string model = line.maybe_text("model").value_or(".");
  Checkpoint checkpoint(model);
  if (PackedCheckpoint::is_packed(checkpoint))
    throw_input(model + ": is packed; 'prune unpack' makes it dense first");
  return checkpoint;
}

void print_notes(const std::vector<std::string>& notes) {
  for (const std::string& note : notes) say(fmt::format("note: {}\n", printable(note)));
}

void note_other_weights(const Checkpoint& checkpoint) {
  for (const std::filesystem::path& file : checkpoint.other_files()) {
    if (Checkpoint::looks_like_weights(file)) {
      say(fmt::format("note: {} is copied as it is, not pruned\n", printable(file.string())));
    }
  }
}

std::string title(const PrunePlan& plan) {
  const PruneOptions& o = plan.options;
  const bool scoped = !std::holds_alternative<NM>(o.pattern);
  return fmt::format(
      "{} ({}), {} of the weights, method {}{}", to_string(o.pattern), describe(o.pattern),
      percent(plan.sparsity), o.method,
      scoped ? fmt::format(", per {}", o.scope == Scope::kGlobal ? "model" : to_string(o.scope)) : "");
}

int show_plan(const CommandLine& line, const Checkpoint& checkpoint, const PrunePlan& plan,
              const std::filesystem::path& output) {
  nlohmann::json list = nlohmann::json::array();
  Table table({"tensor", "type", "shape", "what"});
  for (const PlannedTensor& planned : plan.tensors) {
    const TensorInfo& tensor = checkpoint.tensor(planned.ref);
    const std::string shape = fmt::format("{}", fmt::join(tensor.shape, " x "));
    const std::string what =
        planned.prune ? (planned.orientation == Orientation::kInOut ? "prune down columns" : "prune")
                      : planned.reason;
    table.add({printable(tensor.name), std::string(name(tensor.dtype)), shape, what});
    list.push_back({{"name", tensor.name},
                    {"dtype", name(tensor.dtype)},
                    {"shape", tensor.shape},
                    {"prune", planned.prune},
                    {"reason", planned.reason}});
  }
  std::optional<MemoryEstimate> memory;
  if (find_method(plan.options.method).needs_calibration) memory = estimate_memory(checkpoint, plan);
  if (line.flag("json")) {
    nlohmann::json document = {{"dry_run", true},           {"model", checkpoint.path().string()},
                               {"output", output.string()}, {"options", to_json(plan.options)},
                               {"weights", plan.weights()}, {"tensors", list}};
    if (memory) document["memory"] = memory_json(*memory);
    fmt::print("{}", json_text(document));
    return kDone;
  }
  fmt::print("{}\n{}\n{} of {} tensors would be pruned, {} weights; {} would be written to {}\n", title(plan),
             table.text(), plan.matrices(), plan.tensors.size(), human_count(plan.weights()),
             human_bytes(checkpoint.tensor_bytes()), shown(output));
  if (memory) fmt::print("{}", memory_text(*memory));
  return kDone;
}

// The mean error of some tensors' outputs, where their method knows it.
std::optional<double> mean_error(const std::vector<const TensorReport*>& tensors) {
  double sum = 0;
  for (const TensorReport* tensor : tensors) {
    if (!tensor->error_after) return std::nullopt;
    sum += *tensor->error_after;
  }
  return sum / double(tensors.size());
}

std::string result_table(const PruneReport& report) {
  std::vector<std::string> titles = {"layer", "matrices", "weights", "zeros before", "zeros after"};
  const bool has_errors = find_method(report.method).needs_calibration;
  if (has_errors) titles.push_back("output error");
  Table table(std::move(titles));
  std::vector<TensorReport> pruned;
  std::ranges::copy_if(report.tensors, std::back_inserter(pruned), &TensorReport::pruned);
  int64_t before_in_all = 0;
  const auto share = [](int64_t part, int64_t whole) {
    return percent(whole == 0 ? 0.0 : double(part) / double(whole));
  };
  for (const auto& [layer, tensors] : by_layer(pruned)) {
    int64_t weights = 0, before = 0, after = 0;
    for (const TensorReport* tensor : tensors) {
      weights += tensor->numel();
      before += tensor->zeros_before;
      after += tensor->zeros_after;
    }
    before_in_all += before;
    std::vector<std::string> cells = {printable(layer), std::to_string(tensors.size()), human_count(weights),
                                      share(before, weights), share(after, weights)};
    if (has_errors) cells.push_back(percent(mean_error(tensors).value_or(0)));
    table.add(std::move(cells));
  }
  table.add_rule();
  std::vector<std::string> cells = {
      "total", std::to_string(pruned.size()), human_count(report.pruned_weights()),
      share(before_in_all, report.pruned_weights()), percent(report.achieved_sparsity())};
  if (has_errors) {
    std::vector<const TensorReport*> all;
    all.reserve(pruned.size());
    for (const TensorReport& tensor : pruned) all.push_back(&tensor);
    cells.push_back(percent(mean_error(all).value_or(0)));
  }
  table.add(std::move(cells));
  return table.text();
}

std::string training_text(const TrainingReport& t) {
  const TrainingStep &first = t.steps.front(), &last = t.steps.back();
  return fmt::format(
      "{} steps, {} tokens, {:.1f} s, {:.0f} tokens/s, {:.1f} s of waiting for data; cross-entropy {:.4f} at "
      "first, {:.4f} at last\n",
      last.step, human_count(t.tokens), t.seconds, t.tokens_per_second(), t.waiting, first.cross_entropy,
      last.cross_entropy);
}

// Nothing was done, so there is nothing to report on.
int finish_complete(const CommandLine& line, const std::filesystem::path& output) {
  const auto report = line.maybe_text("report");
  if (report && !line.flag("quiet")) {
    say(fmt::format("note: {}: no report is written, since nothing was done\n", shown(*report)));
  }
  return print_complete(line, output);
}

}  // namespace

int prune_command(const Arguments& arguments) {
  CommandLine line = make_prune_line();
  if (!line.parse(arguments)) return kDone;
  if (const auto units = parse_units(line.text("pattern"))) return prune_structured(line, *units);
  const PruneOptions options = read_prune_options(line);
  const Checkpoint checkpoint = open_model(line);
  const bool quiet = line.flag("quiet");
  report_filters(checkpoint, options.include, options.exclude, quiet);
  const PrunePlan plan = plan_pruning(checkpoint, options);
  const std::filesystem::path output =
      output_place(line, checkpoint, file_name_form(to_string(options.pattern)));
  const std::optional<std::string> report_path = line.maybe_text("report");
  if (report_path) check_report_place(*report_path, checkpoint, output);
  if (!quiet) {
    print_notes(plan.notes);
    note_other_weights(checkpoint);
  }
  if (line.flag("dry-run")) {
    const bool is_complete =
        is_resumed_complete(line, checkpoint, output, describe_pruning(checkpoint, plan));
    return is_complete ? finish_complete(line, output) : show_plan(line, checkpoint, plan, output);
  }
  PruneReport report;
  try {
    const Method& method = find_method(options.method);
    ProgressBar bar("pruning", method.trains ? ProgressUnit::kCount : ProgressUnit::kBytes);
    report = method.run(checkpoint, plan, output, staging_options(line), quiet ? Progress() : bar.callback());
  } catch (const AlreadyComplete&) {
    return finish_complete(line, output);
  }
  if (report_path) write_report(*report_path, report);
  if (line.flag("json")) {
    fmt::print("{}", json_text(to_json(report)));
  } else {
    if (report.training) fmt::print("{}\n", training_text(*report.training));
    fmt::print("{}\n\n{}\n{} in {} files written to {} in {:.1f} s\n", title(plan), result_table(report),
               human_bytes(uint64_t(report.bytes_written)), checkpoint.shards().size(), shown(report.output),
               report.seconds);
  }
  return kDone;
}

}  // namespace prune::app
