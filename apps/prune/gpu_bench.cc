#include "apps/prune/gpu_bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <tuple>

#include <nlohmann/json.hpp>

#include <prune/error.h>

#include "apps/prune/exit_codes.h"
#include "apps/prune/terminal.h"
#include "libprune/io/benchmark_file.h"
#include "libprune/model/gpu_choice.h"
#include "libprune/model/packed_checkpoint.h"

namespace prune::app {
namespace {

// The weights of one shape, type and format. Where their zeros differ, the fewest count: what holds for it
// holds for all.
struct Layer {
  GpuProblem problem;
  std::string dtype;
  std::string format;
  size_t weights = 0;
};

double share_of_zeros(const PackedCheckpoint& packed, const PackedWeight& w) {
  return 1 - double(packed.kept(w)) / (double(w.out) * double(w.in));
}

// As upload() has it: formats and types that no GPU kernel takes get a family that no measurement has.
std::string family_of(const PackedWeight& w) {
  const bool sixteen = w.dtype == DType::kBF16 || w.dtype == DType::kF16;
  if (!sixteen || (w.values == StoredValues::kInt8 && w.format != PackedFormat::kNm)) return "";
  if (w.scale_group != 0 || (w.values != StoredValues::kInt8 && w.stored_dtype() != w.dtype)) return "";
  if (w.format == PackedFormat::kWindows) return "spmm_csr";  // what upload() makes of it
  if (w.format == PackedFormat::kNm) return w.nm.keep == 2 && w.nm.group == 4 ? "spmm_nm" : "";
  return "spmm_" + std::string(name(w.format));
}

Layer layer_of(const PackedCheckpoint& packed, const PackedWeight& w) {
  const std::string block =
      w.format == PackedFormat::kBsr ? fmt::format("{}x{}", w.block.rows, w.block.cols) : "";
  return {{family_of(w), w.values == StoredValues::kInt8 ? "int8" : "bf16", block, share_of_zeros(packed, w),
           w.out, w.in, 1},
          std::string(name(w.dtype)),
          format_in_words(w),
          0};
}

std::vector<Layer> layers_of(const PackedCheckpoint& packed) {
  std::map<std::tuple<Index, Index, std::string, std::string>, Layer> layers;
  for (const PackedWeight& w : packed.weights()) {
    const Layer own = layer_of(packed, w);
    Layer& layer = layers.try_emplace({w.out, w.in, own.dtype, own.format}, own).first->second;
    layer.problem.sparsity = std::min(layer.problem.sparsity, own.problem.sparsity);
    ++layer.weights;
  }
  std::vector<Layer> list;
  list.reserve(layers.size());
  for (auto& [key, layer] : layers) list.push_back(std::move(layer));
  return list;
}

struct Row {
  const Layer* layer;
  int rows;
  GpuChoice choice;
};

std::string microseconds(const std::optional<double>& seconds) {
  return seconds ? fmt::format("{:.1f} us", *seconds * 1e6) : "not measured";
}
std::string speedup(const GpuChoice& choice) {
  if (!choice.dense_seconds || !choice.sparse_seconds) return "";
  return fmt::format("{:.2f}", *choice.dense_seconds / *choice.sparse_seconds);
}

std::string in_words(const std::vector<Row>& rows, const std::string& gpu) {
  Table table(
      {"out x in", "type", "format", "zeros", "weights", "rows", "dense", "sparse", "speed-up", "use"});
  for (const Row& row : rows) {
    const GpuProblem& p = row.layer->problem;
    table.add({fmt::format("{} x {}", p.out, p.in), row.layer->dtype, row.layer->format, percent(p.sparsity),
               std::to_string(row.layer->weights), std::to_string(row.rows),
               microseconds(row.choice.dense_seconds), microseconds(row.choice.sparse_seconds),
               speedup(row.choice), row.choice.kernel});
  }
  return fmt::format(
      "{}\nBy measurements on {}; nothing was timed now. Where a shape was not measured: "
      "bench/gpu/tune.sh.\n",
      table.text(), printable(gpu));
}

nlohmann::json number(const std::optional<double>& value) {
  return value ? nlohmann::json(*value) : nlohmann::json();
}

nlohmann::json to_json(const std::vector<Row>& rows, const std::string& gpu) {
  nlohmann::json cases = nlohmann::json::array();
  for (const Row& row : rows) {
    const GpuProblem& p = row.layer->problem;
    cases.push_back({{"out", p.out},
                     {"in", p.in},
                     {"dtype", row.layer->dtype},
                     {"format", row.layer->format},
                     {"zeros", p.sparsity},
                     {"weights", row.layer->weights},
                     {"rows", row.rows},
                     {"dense_seconds", number(row.choice.dense_seconds)},
                     {"sparse_seconds", number(row.choice.sparse_seconds)},
                     {"use", row.choice.kernel}});
  }
  return {{"gpu", gpu}, {"cases", cases}};
}

}  // namespace

void add_gpu_options(CommandLine& line) {
  line.options()("gpu-table", po::value<std::vector<std::string>>()->composing()->value_name("FILE"),
                 "no timing here: choose by a JSON file of a program of bench/gpu; may be repeated");
}

int report_gpu_choices(const CommandLine& line, const PackedCheckpoint& packed,
                       const std::vector<int>& rows) {
  std::vector<BenchmarkRun> runs;
  for (const std::string& file : line.texts("gpu-table")) runs.push_back(read_benchmark_run(file));
  const GpuTable table(runs);
  const std::vector<Layer> layers = layers_of(packed);
  std::vector<Row> result;
  for (const Layer& layer : layers) {
    for (const int n : rows) {
      GpuProblem problem = layer.problem;
      problem.tokens = n;
      result.push_back({&layer, n, table.choose(problem)});
    }
  }
  fmt::print("{}",
             line.flag("json") ? json_text(to_json(result, table.gpu())) : in_words(result, table.gpu()));
  return kDone;
}

}  // namespace prune::app
