#include "apps/prune/product_report.h"

#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <map>

#include <nlohmann/json.hpp>

#include "apps/prune/terminal.h"
#include "kernels/sparse/isa.h"
#include "libprune/model/dense_linear.h"
#include "libprune/model/packed_kernels.h"

namespace prune::app {
namespace {

std::string milliseconds(double seconds) { return fmt::format("{:.4f} ms", seconds * 1e3); }

// The time that memory and arithmetic ask for at least, over the sparse one.
double share_of_roof(const ProductTiming& c, const ProductRoof& roof) {
  return std::max(c.bytes / roof.bytes_per_second, c.products / roof.products_per_second) / c.sparse.seconds;
}
ProductRoof rates_of(const bench::Roof& roof) { return {roof.read_bandwidth(), roof.fma_peak()}; }

std::string in_words(const ProductTiming& c) {
  const auto ratio = c.speedup();
  const std::string spread = fmt::format("±{:.0f}%", c.spread() * 100);
  return ratio ? fmt::format("{:.2f} {}", *ratio, spread) : "unsteady " + spread;
}

std::string bench_table(const std::vector<ProductTiming>& cases, const ProductRoof& roof) {
  Table table(
      {"weight", "out x in", "type", "format", "rows", "dense", "sparse", "speed-up", "of the roof", "use"});
  for (const ProductTiming& c : cases) {
    table.add({printable(c.layer), fmt::format("{} x {}", c.out, c.in), c.dtype, c.format,
               std::to_string(c.rows), milliseconds(c.dense.seconds), milliseconds(c.sparse.seconds),
               in_words(c), fmt::format("{:.0f}%", share_of_roof(c, roof) * 100), std::string(c.use())});
  }
  return table.text();
}

// Time in the linear layers for one pass with the better of the two everywhere, and all dense.
std::string totals(const std::vector<ProductTiming>& cases) {
  struct Sum {
    double dense = 0;
    double better = 0;
    bool is_steady = true;
  };
  std::map<int, Sum> by_rows;
  for (const ProductTiming& c : cases) {
    Sum& sum = by_rows[c.rows];
    sum.dense += double(c.weights) * c.dense.seconds;
    sum.better += double(c.weights) * std::min(c.dense.seconds, c.sparse.seconds);
    sum.is_steady &= c.speedup().has_value();
  }
  std::string text;
  for (const auto& [rows, sum] : by_rows) {
    text += fmt::format("All packed layers, {} row{}: ", rows, rows == 1 ? "" : "s");
    text += sum.is_steady
                ? fmt::format("dense {}, with the better of the two {}: {:.2f} times as fast\n",
                              milliseconds(sum.dense), milliseconds(sum.better), sum.dense / sum.better)
                : "no total, as some times are unsteady: the machine is busy; try again, or with more "
                  "--seconds\n";
  }
  return text;
}

std::string with_threads(const std::string& kernel, int threads) {
  return fmt::format("{} ({} thread{})", kernel, threads, threads == 1 ? "" : "s");
}

// oneDNN has F32, and BF16 where the processor has its products.
std::string dense_dtype(const ProductTiming& c) {
  return c.dtype == name(DType::kBF16) && c.dense_takes_bf16 ? c.dtype : std::string(name(DType::kF32));
}
std::string sparse_dtype(const ProductTiming& c) { return std::string(name(held_dtype(c.sparse_kernel))); }

// Of weights that were widened.
std::string note_on_types(const ProductTiming& c) {
  const bool dense = dense_dtype(c) != c.dtype;
  const bool sparse = sparse_dtype(c) != c.dtype && held_dtype(c.sparse_kernel) == DType::kF32;
  if (!dense && !sparse) return "";
  return fmt::format("{} weights are multiplied as F32 by {}.\n", c.dtype,
                     dense && sparse ? "oneDNN and " + c.sparse_kernel
                     : dense         ? "oneDNN"
                                     : c.sparse_kernel);
}

// What ran: names, threads, and types where they are not the file's.
std::string fine_print(const std::vector<ProductTiming>& cases) {
  std::vector<std::string> dense, sparse, notes;
  for (const ProductTiming& c : cases) {
    dense.push_back(with_threads(c.dense_kernel, c.dense_threads));
    sparse.push_back(with_threads(c.sparse_kernel, c.sparse_threads));
    notes.push_back(note_on_types(c));
  }
  return fmt::format("Dense: oneDNN {}: {}.\nSparse: {}.\n{}", DenseLinear::library_version(),
                     join_distinct(dense), join_distinct(sparse), join_distinct(notes, ""));
}

// What every device has.
nlohmann::json to_json(const ProductTiming& c, const ProductRoof& roof) {
  const auto ratio = c.speedup();
  return {{"weight", c.layer},
          {"out", c.out},
          {"in", c.in},
          {"dtype", c.dtype},
          {"format", c.format},
          {"weights", c.weights},
          {"rows", c.rows},
          {"dense_seconds", c.dense.seconds},
          {"sparse_seconds", c.sparse.seconds},
          {"dense_spread", c.dense.spread},
          {"sparse_spread", c.sparse.spread},
          {"steady", ratio.has_value()},
          {"roofline", share_of_roof(c, roof)},
          {"speedup", ratio ? nlohmann::json(*ratio) : nlohmann::json()},
          {"dense_kernel", c.dense_kernel},
          {"sparse_kernel", c.sparse_kernel},
          {"use", ratio ? nlohmann::json(c.use()) : nlohmann::json()}};
}

nlohmann::json processor_case(const ProductTiming& c, const ProductRoof& roof) {
  nlohmann::json all = to_json(c, roof);
  all.update({{"dense_threads", c.dense_threads},
              {"sparse_threads", c.sparse_threads},
              {"dense_dtype", dense_dtype(c)},
              {"sparse_dtype", sparse_dtype(c)}});
  return all;
}

nlohmann::json gpu_case(const ProductTiming& c, const ProductRoof& roof) {
  nlohmann::json all = to_json(c, roof);
  all.update({{"dense_dtype", c.dtype}, {"sparse_dtype", c.dtype}});
  return all;
}

std::string lines_of(const std::vector<std::string>& items, std::string_view before) {
  std::string text;
  for (const std::string& item : items) text += fmt::format("{}{}.\n", before, item);
  return text;
}

// What the roof is.
std::string roof_in_words(const bench::Roof& roof) {
  return fmt::format("Roof: {:.0f} GB/s of memory, {:.0f} GFLOP/s in floats, with {} thread{}.\n",
                     roof.read_bandwidth() / 1e9, 2 * roof.fma_peak() / 1e9, omp_get_max_threads(),
                     omp_get_max_threads() == 1 ? "" : "s");
}

}  // namespace

std::string in_words(const std::vector<ProductTiming>& timings, const bench::Roof& roof) {
  return bench_table(timings, rates_of(roof)) + "\n" + totals(timings) + "\n" + fine_print(timings) +
         roof_in_words(roof);
}

nlohmann::json to_json(const std::vector<ProductTiming>& timings, const bench::Roof& roof) {
  nlohmann::json list = nlohmann::json::array();
  for (const ProductTiming& timing : timings) list.push_back(processor_case(timing, rates_of(roof)));
  return {{"threads", omp_get_max_threads()},
          {"peer", std::string("oneDNN ") + DenseLinear::library_version()},
          {"isa", kernels::isa::level_name(kernels::isa::supported())},
          {"read_bandwidth", roof.read_bandwidth()},
          {"fma_peak", roof.fma_peak()},
          {"cases", list}};
}

std::string in_words(const GpuTimings& timings) {
  std::vector<std::string> dense, sparse;
  for (const ProductTiming& c : timings.products)
    dense.push_back(c.dense_kernel), sparse.push_back(c.sparse_kernel);
  const std::string measured =
      timings.products.empty()
          ? ""
          : fmt::format("{}\n{}\nDense: {}: {}.\nSparse: {}.\n", bench_table(timings.products, timings.roof),
                        totals(timings.products), timings.peer, join_distinct(dense), join_distinct(sparse));
  return fmt::format(
      "{}{}On {}. Roof: {:.0f} GB/s of weights for one row, {:.0f} TFLOP/s for 8192 rows, in large dense "
      "products.\n",
      measured, lines_of(timings.left_out, "No kernel for "), printable(timings.gpu),
      timings.roof.bytes_per_second / 1e9, 2 * timings.roof.products_per_second / 1e12);
}

nlohmann::json to_json(const GpuTimings& timings) {
  nlohmann::json list = nlohmann::json::array();
  for (const ProductTiming& timing : timings.products) list.push_back(gpu_case(timing, timings.roof));
  return {{"gpu", timings.gpu},
          {"peer", timings.peer},
          {"read_bandwidth", timings.roof.bytes_per_second},
          {"fma_peak", timings.roof.products_per_second},
          {"no_kernel", timings.left_out},
          {"cases", list}};
}

}  // namespace prune::app
