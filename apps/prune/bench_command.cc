// prune bench MODEL: is the packed model faster here, and by how much?
#include <omp.h>

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include <prune/error.h>

#include "apps/prune/command.h"
#include "apps/prune/compare_command.h"
#include "apps/prune/exit_codes.h"
#include "apps/prune/gpu_bench.h"
#include "apps/prune/gpu_products.h"
#include "apps/prune/product_report.h"
#include "apps/prune/random_layers.h"
#include "apps/prune/runtime_options.h"
#include "apps/prune/terminal.h"
#include "apps/prune/whole_bench.h"

namespace prune::app {
namespace {

constexpr double kRoofSeconds = 0.5;

CommandLine make_bench_line() {
  CommandLine line(
      "prune bench [MODEL] [-n ROWS]... [options]\n"
      "       prune bench --shape OUTxIN... [--pattern P] [--sparsity S] [--type T] [-n ROWS]... [options]\n"
      "       prune bench [MODEL] --whole [--beside MODEL]... [options]\n"
      "       prune bench [MODEL] --device cuda [--whole] [-n ROWS]... [options]\n"
      "       prune bench [MODEL] --gpu-table FILE.json... [-n ROWS]... [options]\n"
      "       prune bench --compare OLD.json NEW.json [--fail-below RATIO] [--counter NAME]",
      "Times every weight shape of a packed checkpoint with its real masks: the dense product by oneDNN, "
      "weights laid out\n"
      "in advance, against the sparse kernel, in turns. Says which to use.",
      "Times are for one product Y[rows, out] = X[rows, in] W^T, walking through the model's weights of that "
      "shape, as\n"
      "inference meets them (rows 1: decoding one sequence; rows 128: a batch or a prompt). A time is the "
      "shortest seen: other\n"
      "load only adds to it. Each side takes all threads or one, whichever is faster. Where not five of a "
      "series' eight parts\n"
      "come within 10% of the fastest, the machine was too busy, and no speed-up is given: try again, or "
      "with "
      "more --seconds.\n"
      "'use' says either where the speed-up differs from 1 by no more than its spread.\n"
      "The peer and the kernel are checked against each other before they are timed.\n"
      "\nWith --compare nothing is timed: cases of two runs of a benchmark program are paired by name, their "
      "repetitions\ncompared by ranks. Exit code 4 where one is slower than RATIO times the old speed, "
      "beyond "
      "noise. Make the runs with\n--benchmark_out=FILE --benchmark_repetitions=20.\n"
      "\nWith --shape there is no model: random weights of that shape are pruned by magnitude and packed as "
      "'prune pack' would.\n'of the roof' is the time that this machine's memory and arithmetic ask for, "
      "over "
      "the sparse one.\n"
      "\nWith --device cuda both sides run on the first GPU: the dense product by cuBLASLt's fastest "
      "algorithm, "
      "bf16 or\nhalf, against the fastest CUDA kernel there is for the format. A time is of one product in a "
      "graph of products\nthat walks past the GPU's cache. With --whole, whole models run there.\n"
      "\nWith --gpu-table nothing is timed here either: for each weight, the kernel or the dense product "
      "that is "
      "fastest by\nwhat the programs of bench/gpu measured on a GPU. What was not measured is dense.\n"
      "\nExamples:\n  prune bench Llama-3-8B-packed --rows 1 --rows 128\n"
      "  prune bench --shape 4096x14336 --pattern unstructured --sparsity 0.7\n"
      "  prune bench --compare main.json branch.json --fail-below 0.95\n");
  line.positional("model");
  line.options()("rows,n", po::value<std::vector<int>>()->composing()->value_name("ROWS"),
                 "rows of X, may be repeated (default: 1, 16 and 128)")(
      "seconds", po::value<double>()->default_value(0.5, "0.5")->value_name("S"),
      "time to spend on each case");
  add_device_option(line);
  add_shape_options(line);
  add_whole_options(line);
  add_gpu_options(line);
  add_compare_options(line);
  add_running_options(line);
  return line;
}

std::vector<int> rows_to_measure(const std::vector<int>& given) {
  if (given.empty()) return {1, 16, 128};
  for (const int rows : given) {
    if (rows < 1 || rows > 65536) throw_usage(fmt::format("--rows {}: expected 1 to 65536", rows));
  }
  return given;
}

// What report(packed) returns for the model there.
template <class Report>
int with_packed_model(const std::filesystem::path& model, const Report& report) {
  const Checkpoint checkpoint(model);
  if (!PackedCheckpoint::is_packed(checkpoint)) {
    throw_input(shown(checkpoint.path()) + ": is not packed; 'prune pack' it first");
  }
  const PackedCheckpoint packed(checkpoint);
  if (packed.weights().empty()) {
    throw_input(shown(checkpoint.path()) + ": holds no packed weight: there is nothing to time");
  }
  return report(packed);
}

int report_products(const std::filesystem::path& model, const CommandLine& line, const std::vector<int>& rows,
                    double seconds) {
  return with_packed_model(model, [&](const PackedCheckpoint& packed) {
    if (on_gpu(line)) {
      const GpuTimings timings = time_products_on_gpu(packed, rows, seconds);
      fmt::print("{}", line.flag("json") ? json_text(to_json(timings)) : in_words(timings));
      return kDone;
    }
    bench::Roof roof(kRoofSeconds);
    const std::vector<ProductTiming> timings = time_products(packed, rows, seconds, roof);
    fmt::print("{}", line.flag("json") ? json_text(to_json(timings, roof)) : in_words(timings, roof));
    return kDone;
  });
}

}  // namespace

int bench_command(const Arguments& arguments) {
  CommandLine line = make_bench_line();
  if (!line.parse(arguments)) return kDone;
  const bool is_whole = line.flag("whole"), compares = line.has("compare"), asks_gpu = line.has("gpu-table");
  if (is_whole + compares + asks_gpu > 1)
    throw_usage("--compare, --whole and --gpu-table go without each other");
  if (is_whole || compares || asks_gpu) refuse_shape_options(line);
  if (on_gpu(line) && (compares || asks_gpu))
    throw_usage("--compare and --gpu-table read what was measured and run nothing: leave --device out");
  require_device(line);
  if (compares) return compare_command(line);
  if (line.has("fail-below") || line.has("counter")) {
    throw_usage("--fail-below and --counter go with --compare OLD NEW");
  }
  if (is_whole) return whole_bench_command(line);
  refuse_whole_options(line);
  const std::vector<int> rows = rows_to_measure(line.numbers("rows"));
  const std::string model = line.maybe_text("model").value_or(".");
  if (asks_gpu) {
    return with_packed_model(
        model, [&](const PackedCheckpoint& packed) { return report_gpu_choices(line, packed, rows); });
  }
  const double seconds = *line.maybe_number("seconds");
  if (!(seconds > 0)) throw_usage("--seconds must be above 0");
  if (line.threads() > 0) omp_set_num_threads(line.threads());
  if (line.has("shape")) {
    const TemporaryFolder folder("prune-bench-");
    return report_products(write_random_layers(line, folder), line, rows, seconds);
  }
  refuse_shape_options(line);
  return report_products(model, line, rows, seconds);
}

}  // namespace prune::app
