#include "apps/prune/structured_command.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include <prune/error.h>

#include "apps/prune/calibration.h"
#include "apps/prune/exit_codes.h"
#include "apps/prune/memory_plan.h"
#include "apps/prune/output_place.h"
#include "apps/prune/terminal.h"
#include "apps/prune/text_file.h"
#include "apps/prune/training.h"
#include "libprune/model/structured/structured_memory.h"
#include "libprune/model/structured/structured_pass.h"

namespace prune::app {
namespace {

// Options that only patterns of weights have.
constexpr const char* kOfWeights[] = {"scope",      "block-norm", "include",         "exclude",
                                      "skip-unfit", "keep-zeros", "true-sequential", "allocation"};

StructuredOptions read_structured_options(const CommandLine& line, UnitKind units) {
  StructuredOptions options;
  options.units = units;
  options.method = line.text("method");
  options.multiple_of = line.get<int64_t>("multiple-of");
  options.threads = line.threads();
  options.calibration = read_calibration(line);
  const StructuredMethod& method = find_structured_method(options.method);
  const std::string pattern = "pattern " + std::string(to_string(units));
  for (const char* name : kOfWeights) {
    if (line.has(name)) throw_usage(fmt::format("{} has no use for --{}", pattern, name));
  }
  if (line.has("per-layer-width"))
    throw_usage("--per-layer-width: config.json has one width for all layers, and no reader knows another");
  if (line.has("multiple-of") && units != UnitKind::kChannels && units != UnitKind::kMixed)
    throw_usage(fmt::format("{} has no use for --multiple-of", pattern));
  if (!method.needs_calibration()) refuse_calibration_options(line, options.method);
  if (line.has("follow") && !method.refits)
    throw_usage(fmt::format("method {} has no use for --follow", options.method));
  refuse_training_options(line, options.method, TrainsLayers(method.reconstructs));
  if (line.has("steps") && !method.reconstructs)
    throw_usage(fmt::format("method {} has no use for --steps", options.method));
  const auto sparsity = line.maybe_number("sparsity");
  if (!sparsity) throw_usage(pattern + " needs --sparsity S, the share of parameters to remove");
  options.sparsity = *sparsity;
  return options;
}

std::string title(const StructuredOptions& options, double achieved) {
  return fmt::format("{}: {} of the decoder blocks' parameters removed ({} asked for), method {}",
                     to_string(options.units), percent(achieved), percent(options.sparsity), options.method);
}

std::string shape_text(const ModelShape& shape, bool has_experts) {
  return fmt::format("{} layers of {} query heads, {} key-value heads, {}{} channels", shape.layers,
                     shape.size.heads, shape.size.kv_heads,
                     has_experts ? fmt::format("{} experts of ", shape.size.experts) : "",
                     shape.size.channels);
}

std::string error_cell(const std::optional<double>& error) { return error ? percent(*error) : "-"; }

std::string layer_table(const StructuredReport& report) {
  Table table({"layer", "query heads", "kv heads", "experts", "channels", "attention error", "FFN error"});
  for (const LayerReport& layer : report.layers) {
    if (!layer.stays) {
      table.add({std::to_string(layer.layer), "removed", "", "", "", "", ""});
      continue;
    }
    const LayerSize& size = report.after.size;
    table.add({std::to_string(layer.layer), std::to_string(size.heads), std::to_string(size.kv_heads),
               std::to_string(size.experts), std::to_string(size.channels), error_cell(layer.attention_error),
               error_cell(layer.feed_forward_error)});
  }
  return table.text();
}

std::string trial_table(const StructuredReport& report) {
  if (report.trials.empty()) return "";
  Table table({"tried: layers", "query heads", "channels", "removed", "loss"});
  for (const ShapeTrial& trial : report.trials) {
    table.add({std::to_string(trial.shape.layers), std::to_string(trial.shape.size.heads),
               std::to_string(trial.shape.size.channels), percent(trial.share),
               fmt::format("{:.4f}", trial.nats)});
  }
  return table.text() + "\n";
}

std::string result_text(const StructuredOptions& options, const StructuredReport& report) {
  const bool has_experts = report.before.size.experts > 1;
  return fmt::format(
      "{}\n\n{}{}\nbefore: {}\nafter:  {}\n\n{} of weights became {}, written to {} in {:.1f} s\n",
      title(options, report.achieved), trial_table(report), layer_table(report),
      shape_text(report.before, has_experts), shape_text(report.after, has_experts),
      human_bytes(report.bytes_before), human_bytes(report.bytes_after), shown(report.output),
      report.seconds);
}

int show_plan(const CommandLine& line, const Checkpoint& checkpoint, const StructuredOptions& options,
              const ModelShape& shape, const std::filesystem::path& output) {
  const DecoderConfig config = read_decoder_config(checkpoint);
  const double share = share_removed(config, shape);
  const bool is_found_later = options.units == UnitKind::kMixed;
  std::optional<MemoryEstimate> memory;
  if (find_structured_method(options.method).needs_calibration())
    memory = estimate_memory(checkpoint, options, shape);
  if (line.flag("json")) {
    nlohmann::json document = {{"dry_run", true},
                               {"model", checkpoint.path().string()},
                               {"output", output.string()},
                               {"pattern", to_string(options.units)},
                               {"method", options.method},
                               {"sparsity", {{"requested", options.sparsity}, {"achieved", share}}},
                               {"is_one_of_several", is_found_later},
                               {"after", to_json(shape)}};
    if (memory) document["memory"] = memory_json(*memory);
    fmt::print("{}", json_text(document));
    return kDone;
  }
  const bool has_experts = config.has_experts();
  fmt::print("{}\n\nbefore: {}\nafter:  {}{}\n\nwould be written to {}\n", title(options, share),
             shape_text(shape_of(config), has_experts), shape_text(shape, has_experts),
             is_found_later ? ", or another shape of that share: measuring decides" : "", shown(output));
  if (memory) fmt::print("{}", memory_text(*memory));
  return kDone;
}

void write_report(const std::string& path, const StructuredReport& report) try {
  write_text_file(path, json_text(to_json(report)));
} catch (const Error& fault) {
  throw_runtime("the smaller model is in place at " + shown(report.output) +
                ", but not its report: " + fault.what());
}

}  // namespace

void add_structured_options(CommandLine& line) {
  line.options()("multiple-of", po::value<int64_t>()->default_value(64)->value_name("N"),
                 "of channels that stay, with pattern channels or mixed: what tensor cores like")(
      "per-layer-width", po::bool_switch(), "refused: config.json has one width for all layers");
}

std::string structured_help() {
  std::string text =
      "  channels             of the feed-forward layers: these and the next four remove whole units, and "
      "leave a\n"
      "                       smaller dense model; sparsity is the share of the decoder blocks' parameters\n"
      "  heads                key and value heads with their query heads\n"
      "  layers, experts      whole ones\n"
      "  mixed                layers, heads and channels, as measured on --calib\n"
      "\nMethods for whole units; all but magnitude need --calib:\n";
  for (const StructuredMethod& method : structured_methods())
    text += fmt::format("  {:<20} {}\n", method.name, method.summary);
  return text;
}

void refuse_structured_options(const CommandLine& line, const std::string& pattern) {
  for (const char* name : {"multiple-of", "per-layer-width"}) {
    if (line.has(name)) throw_usage(fmt::format("pattern {} has no use for --{}", pattern, name));
  }
}

int prune_structured(const CommandLine& line, UnitKind units) {
  const StructuredOptions options = read_structured_options(line, units);
  const Checkpoint checkpoint(line.maybe_text("model").value_or("."));
  const ModelShape shape = plan_structured(checkpoint, options);
  const std::filesystem::path output = output_place(line, checkpoint, to_string(units));
  const std::optional<std::string> report_path = line.maybe_text("report");
  if (report_path) {
    if (report_path->ends_with(".html"))
      throw_usage("--report: the report on whole units is JSON: name it .json");
    check_report_place(*report_path, checkpoint, output);
  }
  if (line.flag("dry-run")) {
    const bool is_complete =
        is_resumed_complete(line, checkpoint, output, describe_structured(checkpoint, options));
    return is_complete ? print_complete(line, output) : show_plan(line, checkpoint, options, shape, output);
  }
  StructuredReport report;
  try {
    ProgressBar bar("pruning");
    report = prune_units(checkpoint, options, output, staging_options(line),
                         line.flag("quiet") ? Progress() : bar.callback());
  } catch (const AlreadyComplete&) {
    return print_complete(line, output);
  }
  if (!line.flag("quiet")) {
    for (const std::string& note : report.notes) say(fmt::format("note: {}\n", printable(note)));
  }
  if (report_path) write_report(*report_path, report);
  fmt::print("{}", line.flag("json") ? json_text(to_json(report)) : result_text(options, report));
  return kDone;
}

}  // namespace prune::app
