// prune pack MODEL and prune unpack MODEL.
#include <fmt/format.h>

#include <algorithm>

#include <omp.h>

#include <nlohmann/json.hpp>

#include <prune/error.h>

#include "apps/prune/command.h"
#include "apps/prune/exit_codes.h"
#include "apps/prune/filters.h"
#include "apps/prune/layer_rows.h"
#include "apps/prune/output_place.h"
#include "apps/prune/quantities.h"
#include "apps/prune/terminal.h"
#include "libprune/model/format_speed.h"
#include "libprune/model/pack_checkpoint.h"
#include "libprune/model/tuning.h"
#include "libprune/model/unpack_checkpoint.h"

namespace prune::app {
namespace {

CommandLine make_pack_line() {
  CommandLine line(
      "prune pack [MODEL] [-o OUT] [--format F] [options]",
      "Stores the linear weights of a pruned checkpoint sparse. 'prune unpack' gives the dense folder back, "
      "bit for bit when\npruned weights are +0.0, as prune writes them. (An nm group holds N weights: a -0.0 "
      "beyond them comes back as +0.0,\nand a note says how many do.)",
      "Formats (--format), with the bits a weight costs beside its kept values:\n"
      "  smallest  for each weight the smallest that holds it; dense where none is smaller (default)\n"
      "  auto      of those smaller than the dense weight the one that multiplies one row fastest on this "
      "machine, or dense;\n"
      "            measured once and kept with what bench and generate measure\n"
      "  nm        N:M: 1 bit a weight for 2:4\n"
      "  bitmask   any zeros: 1 bit a weight\n"
      "  csr       any zeros: 32 bits a kept weight\n"
      "  windows   any zeros, where a tenth or less stays: about 20 bits a kept weight; at most 65536 "
      "columns\n"
      "  bsr       blocks: 32 bits a kept block\n"
      "\nExamples:\n  prune pack Llama-3-8B-2of4 -o Llama-3-8B-packed\n  prune pack Llama-3-8B-2of4 --values "
      "int8 --group 128\n  prune pack pruned --format bsr "
      "--pattern 16x16\n  prune pack Llama-3-8B --prune 2:4 --values int8 --rounding calibrated --calib "
      "text.jsonl\n");
  line.positional("model");
  line.options()("format", po::value<std::string>()->default_value("smallest")->value_name("F"), "see below")(
      "pattern,p", po::value<std::string>()->value_name("P"),
      "N:M for nm, RxC for bsr (default: found from the zeros)")(
      "values", po::value<std::string>()->default_value("plain")->value_name("V"),
      "plain: as they are; int8: rounded, with a scale for every output row; bf16, f16: rounded to that "
      "type")("group", po::value<int64_t>()->value_name("G"),
              "with int8: a scale for every G columns of a row, a power of two from 32 on");
  line.options()("retune", po::bool_switch(), "with --format auto: measure again");
  line.options()("rounding", po::value<std::string>()->default_value("nearest")->value_name("R"),
                 "of int8 values: nearest, or calibrated, where later weights of a row make up for the "
                 "rounding of earlier ones on the text of --calib (GPTQ)")(
      "prune", po::value<std::string>()->value_name("P"),
      "with calibrated rounding: prune the weights to this pattern (2:4, unstructured, 16x16) in the sweep "
      "that rounds them, so that later ones make up for both (SparseGPT)")(
      "sparsity,s", po::value<double>()->value_name("S"),
      "with --prune: the share of the weights that become zero; N:M says it itself")(
      "calib", po::value<std::string>()->value_name("FILE"),
      "text that the model is run on: .jsonl, .txt, or token ids as .npy or .safetensors")(
      "samples", po::value<int64_t>()->default_value(128)->value_name("N"), "sequences of it")(
      "seqlen", po::value<int64_t>()->value_name("N"),
      "tokens of each (default: the model's maximum, at most 2048)")(
      "damping", po::value<double>()->value_name("D"),
      "added to the diagonal of the inputs' moments, as a share of its mean (default: 0.01)")(
      "memory", po::value<std::string>()->value_name("SIZE"),
      "of hidden states in memory, 512M or 8G; the rest goes to a temporary file (default: 4G)");
  add_selection_options(line);
  add_output_options(line);
  add_running_options(line);
  return line;
}

StoredValues parse_values(const std::string& text) {
  for (const auto values :
       {StoredValues::kPlain, StoredValues::kInt8, StoredValues::kBf16, StoredValues::kF16}) {
    if (text == name(values)) return values;
  }
  throw_usage("values '" + printable(text) + "': expected plain, int8, bf16 or f16");
}

Index read_group(const CommandLine& line, StoredValues values) {
  const auto group = line.maybe<int64_t>("group");
  if (!group) return 0;
  if (values != StoredValues::kInt8) throw_usage("--group goes with --values int8");
  if (*group < 0 || !is_scale_group(uint64_t(*group)))
    throw_usage(fmt::format("--group {}: expected a power of two from 32 to 2^20", *group));
  return Index(*group);
}

ValueRounding parse_rounding(const std::string& text) {
  if (text == "nearest") return ValueRounding::kNearest;
  if (text == "calibrated") return ValueRounding::kCalibrated;
  throw_usage("--rounding " + printable(text) + ": expected nearest or calibrated");
}

void read_rounding(const CommandLine& line, PackOptions& options) {
  options.rounding = parse_rounding(line.text("rounding"));
  if (options.rounding == ValueRounding::kNearest) {
    for (const char* name : {"prune", "sparsity", "calib", "samples", "seqlen", "damping", "memory"}) {
      if (line.has(name)) throw_usage(fmt::format("--{} goes with --rounding calibrated", name));
    }
    return;
  }
  if (options.values != StoredValues::kInt8) throw_usage("--rounding calibrated goes with --values int8");
  if (!line.has("calib")) throw_usage("--rounding calibrated needs --calib FILE, text to run the model on");
  if (const auto pattern = line.maybe_text("prune")) {
    options.pruning = {parse_pattern(*pattern), line.maybe_number("sparsity")};
  } else if (line.has("sparsity")) {
    throw_usage("--sparsity goes with --prune");
  }
  options.calibration.file = line.text("calib");
  options.calibration.samples = line.get<int64_t>("samples");
  options.calibration.length = line.maybe<int64_t>("seqlen");
  options.calibration.damping = line.maybe_number("damping");
  if (const auto memory = line.maybe_text("memory"))
    options.calibration.memory = parse_bytes("--memory", *memory);
}

PackOptions read_pack_options(const CommandLine& line) {
  PackOptions options;
  const std::string format = line.text("format");
  if (line.flag("retune") && format != "auto") throw_usage("--retune goes with --format auto");
  if (format == "auto") {
    if (line.threads() > 0) omp_set_num_threads(line.threads());  // the table is of this many
    options.fastest_by = &TuningTable::of_user();
  } else if (format != "smallest") {
    options.request.format = parse_packed_format(format);
  }
  if (const auto pattern = line.maybe_text("pattern")) options.request.pattern = parse_pattern(*pattern);
  options.values = parse_values(line.text("values"));
  options.scale_group = read_group(line, options.values);
  read_rounding(line, options);
  options.include = line.texts("include");
  options.exclude = line.texts("exclude");
  options.threads = line.threads();
  if (line.flag("retune")) options.fastest_by->clear(kRowTimes);
  return options;
}

void add_row(Table& table, const std::string& name, const std::vector<const PackedTensorReport*>& tensors) {
  int64_t weights = 0, zeros = 0;
  uint64_t dense = 0, packed = 0;
  std::vector<std::string> formats;
  for (const PackedTensorReport* tensor : tensors) {
    weights += tensor->out * tensor->in;
    zeros += tensor->zeros;
    dense += tensor->dense_bytes;
    packed += tensor->packed_bytes;
    formats.push_back(tensor->format);
  }
  table.add({printable(name), percent(weights ? double(zeros) / double(weights) : 0), human_bytes(dense),
             human_bytes(packed), percent(dense ? double(packed) / double(dense) : 0),
             join_distinct(formats)});
}

// Of calibrated rounding: the mean over the weights.
std::string error_text(const PackReport& report, bool has_pruned) {
  double sum = 0;
  int64_t count = 0;
  for (const PackedTensorReport& tensor : report.tensors) {
    if (!tensor.output_error) continue;
    sum += *tensor.output_error;
    ++count;
  }
  if (count == 0) return "";
  return fmt::format("\n{} changes the layers' outputs by {:.2e} of their square, on average\n",
                     has_pruned ? "pruning and rounding" : "rounding", sum / double(count));
}

std::string pack_table(const PackReport& report) {
  Table table({"layer", "zeros", "dense", "packed", "packed/dense", "format"});
  std::vector<const PackedTensorReport*> all;
  for (const PackedTensorReport& tensor : report.tensors) all.push_back(&tensor);
  for (const auto& [layer, tensors] : by_layer(report.tensors)) add_row(table, layer, tensors);
  table.add_rule();
  add_row(table, "linear weights", all);
  table.add({"whole files", "", human_bytes(report.model_bytes), human_bytes(report.packed_model_bytes),
             percent(double(report.packed_model_bytes) / double(report.model_bytes)), ""});
  return table.text();
}

void note_dense(const PackReport& report) {
  for (const PackedTensorReport& tensor : report.tensors) {
    if (!tensor.reason.empty())
      say(fmt::format("note: '{}' stays dense: {}\n", printable(tensor.name), tensor.reason));
  }
}

void note_lost_signs(const PackReport& report) {
  int64_t lost = 0;
  for (const PackedTensorReport& tensor : report.tensors) lost += tensor.lost_signs;
  if (lost == 0) return;
  say(
      fmt::format("note: {} of the zeros are -0.0 in nm groups that have no place for them, and will be "
                  "unpacked as +0.0 (--format bitmask keeps them)\n",
                  lost));
}

void note_rounded(const Checkpoint& checkpoint) {
  const PackedCheckpoint packed(checkpoint);
  const auto rounded = std::ranges::count_if(
      packed.weights(), [](const PackedWeight& w) { return w.values != StoredValues::kPlain; });
  if (rounded == 0) return;
  say(
      fmt::format("note: {} weights were rounded when they were packed; the dense ones hold the rounded "
                  "values\n",
                  rounded));
}

CommandLine make_unpack_line() {
  CommandLine line("prune unpack [MODEL] [-o OUT] [options]",
                   "Makes a packed checkpoint dense again: the folder that was packed, with zeros in place.\n"
                   "Reads the sparse formats of older compressed-tensors, too.",
                   "Example:\n  prune unpack Llama-3-8B-packed -o Llama-3-8B-2of4\n");
  line.positional("model");
  add_output_options(line);
  add_running_options(line);
  return line;
}

}  // namespace

int pack_command(const Arguments& arguments) {
  CommandLine line = make_pack_line();
  if (!line.parse(arguments)) return kDone;
  const PackOptions options = read_pack_options(line);
  const Checkpoint checkpoint(line.maybe_text("model").value_or("."));
  const bool quiet = line.flag("quiet");
  report_filters(checkpoint, options.include, options.exclude, quiet);
  const std::filesystem::path output = output_place(line, checkpoint, "packed");
  PackReport report;
  try {
    ProgressBar bar("packing");
    report = pack_checkpoint(checkpoint, options, output, staging_options(line),
                             quiet ? Progress() : bar.callback());
  } catch (const AlreadyComplete&) {
    return print_complete(line, output);
  }
  if (!quiet) {
    note_dense(report);
    note_lost_signs(report);
  }
  if (line.flag("json")) {
    fmt::print("{}", json_text(to_json(report)));
  } else {
    fmt::print("{}{}\nwritten to {} in {:.1f} s\n", pack_table(report),
               error_text(report, options.pruning.has_value()), report.output, report.seconds);
  }
  return kDone;
}

int unpack_command(const Arguments& arguments) {
  CommandLine line = make_unpack_line();
  if (!line.parse(arguments)) return kDone;
  const Checkpoint checkpoint(line.maybe_text("model").value_or("."));
  const std::filesystem::path output = output_place(line, checkpoint, "dense");
  PackReport report;
  try {
    ProgressBar bar("unpacking");
    report = unpack_checkpoint(checkpoint, output, staging_options(line), line.threads(),
                               line.flag("quiet") ? Progress() : bar.callback());
  } catch (const AlreadyComplete&) {
    return print_complete(line, output);
  }
  if (!line.flag("quiet")) note_rounded(checkpoint);
  if (line.flag("json")) {
    fmt::print("{}", json_text(to_json(report)));
  } else {
    fmt::print("{} of packed files became {} of dense files in {} in {:.1f} s\n",
               human_bytes(report.packed_model_bytes), human_bytes(report.model_bytes), report.output,
               report.seconds);
  }
  return kDone;
}

}  // namespace prune::app
