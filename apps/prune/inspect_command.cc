// prune inspect MODEL: what a checkpoint holds.
#include <fmt/format.h>

#include <memory>

#include <nlohmann/json.hpp>

#include "apps/prune/command.h"
#include "apps/prune/exit_codes.h"
#include "apps/prune/layer_rows.h"
#include "apps/prune/profile_model.h"
#include "apps/prune/terminal.h"

namespace prune::app {
namespace {

CommandLine make_inspect_line() {
  CommandLine line(
      "prune inspect [MODEL] [options]",
      "Shows a checkpoint's files and tensors, and for every linear weight its zeros and the pattern they "
      "fit.",
      "Examples:\n  prune inspect Llama-3-8B-2of4\n  prune inspect model.safetensors --all --json\n");
  line.positional("model");
  line.options()("all,a", po::bool_switch(), "a row for every weight instead of one for every layer");
  add_running_options(line);
  return line;
}

void add_row(Table& table, const std::string& name, const std::vector<const WeightProfile*>& weights) {
  int64_t count = 0, zeros = 0;
  uint64_t bytes = 0;
  std::vector<std::string> patterns, formats;
  for (const WeightProfile* weight : weights) {
    count += weight->zeros.out * weight->zeros.in;
    zeros += weight->zeros.zeros;
    bytes += weight->bytes;
    formats.push_back(weight->format);
    if (weight->zeros.zeros > 0) patterns.push_back(to_string(weight->zeros.likely_pattern()));
  }
  table.add({printable(name), std::to_string(weights.size()), human_count(count),
             percent(count ? double(zeros) / double(count) : 0),
             patterns.empty() ? "-" : join_distinct(patterns), join_distinct(formats), human_bytes(bytes)});
}

std::string weight_table(const std::vector<WeightProfile>& weights, bool all) {
  Table table({all ? "weight" : "layer", "matrices", "weights", "zeros", "pattern", "stored as", "bytes"});
  std::vector<const WeightProfile*> everything;
  everything.reserve(weights.size());
  for (const WeightProfile& weight : weights) everything.push_back(&weight);
  if (all) {
    for (const WeightProfile* weight : everything) add_row(table, weight->name, {weight});
  } else {
    for (const auto& [layer, of_layer] : by_layer(weights)) add_row(table, layer, of_layer);
  }
  table.add_rule();
  add_row(table, "total", everything);
  return table.text();
}

nlohmann::json to_json(const WeightProfile& w) {
  return {{"name", w.name},
          {"dtype", name(w.dtype)},
          {"shape", {w.zeros.out, w.zeros.in}},
          {"zeros", w.zeros.zeros},
          {"sparsity", w.zeros.sparsity()},
          {"nan", w.zeros.nans},
          {"pattern", w.zeros.zeros ? to_string(w.zeros.likely_pattern()) : ""},
          {"format", w.format},
          {"bytes", w.bytes}};
}

std::string type_in_words(const Checkpoint& checkpoint, const Architecture& architecture) {
  if (!architecture.model_type().empty()) return printable(architecture.model_type());
  return checkpoint.config() == nullptr ? "no config.json" : "no model_type in config.json";
}

nlohmann::json document(const Checkpoint& checkpoint, const Architecture& architecture,
                        const std::vector<WeightProfile>& weights) {
  nlohmann::json list = nlohmann::json::array();
  for (const WeightProfile& weight : weights) list.push_back(to_json(weight));
  nlohmann::json shards = nlohmann::json::array();
  for (size_t s = 0; s < checkpoint.shards().size(); ++s) {
    shards.push_back({{"name", checkpoint.shard_name(s)},
                      {"bytes", checkpoint.shards()[s].file_size()},
                      {"tensors", checkpoint.shards()[s].tensors().size()}});
  }
  return {{"model", checkpoint.path().string()},
          {"model_type", architecture.model_type()},
          {"shards", shards},
          {"weights", list}};
}

}  // namespace

int inspect_command(const Arguments& arguments) {
  CommandLine line = make_inspect_line();
  if (!line.parse(arguments)) return kDone;
  const Checkpoint checkpoint(line.maybe_text("model").value_or("."));
  const auto packed =
      PackedCheckpoint::is_packed(checkpoint) ? std::make_unique<PackedCheckpoint>(checkpoint) : nullptr;
  std::vector<WeightProfile> weights;
  {
    ProgressBar bar("reading");
    weights = profile_weights(checkpoint, packed.get(), line.threads(),
                              line.flag("quiet") ? Progress() : bar.callback());
  }
  const Architecture architecture(checkpoint);
  if (line.flag("json")) {
    fmt::print("{}", json_text(document(checkpoint, architecture, weights)));
    return kDone;
  }
  size_t tensors = 0;
  uint64_t file_bytes = 0;
  for (const SafetensorsFile& shard : checkpoint.shards()) {
    tensors += shard.tensors().size();
    file_bytes += shard.file_size();
  }
  fmt::print("{}: {}, {}{} tensors in {} files, {}\n\n", shown(checkpoint.path()),
             type_in_words(checkpoint, architecture), packed ? "packed, " : "", tensors,
             checkpoint.shards().size(), human_bytes(file_bytes));
  fmt::print("{}", weight_table(weights, line.flag("all")));
  return kDone;
}

}  // namespace prune::app
