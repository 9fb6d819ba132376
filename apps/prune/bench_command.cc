// prune bench MODEL: is the packed model faster here, and by how much?
#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <tuple>

#include <nlohmann/json.hpp>

#include <prune/error.h>

#include "apps/prune/agreement.h"
#include "apps/prune/command.h"
#include "apps/prune/compare_command.h"
#include "apps/prune/exit_codes.h"
#include "apps/prune/terminal.h"
#include "apps/prune/timing.h"
#include "apps/prune/whole_bench.h"
#include "libprune/io/staging.h"
#include "libprune/model/dense_linear.h"
#include "libprune/model/elapsed.h"
#include "libprune/model/packed_kernels.h"
#include "libprune/model/tensor_visit.h"

namespace prune::app {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kRotatedBytes =
    size_t(96) << 20;       // dense bytes to walk through: beyond last-level caches, as a whole model is
constexpr int kTrials = 5;  // of one product, to choose the number of threads
constexpr float kTolerance =
    0.02f;  // largest |sparse - dense| against the largest |dense|, bf16 rounding included

CommandLine make_line() {
  CommandLine line(
      "prune bench [MODEL] [-n ROWS]... [options]\n"
      "       prune bench [MODEL] --whole [--beside MODEL]... [options]\n"
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
      "\nExamples:\n  prune bench Llama-3-8B-packed --rows 1 --rows 128\n"
      "  prune bench --compare main.json branch.json --fail-below 0.95\n");
  line.positional("model");
  line.options()("rows,n", po::value<std::vector<int>>()->composing()->value_name("ROWS"),
                 "rows of X, may be repeated (default: 1, 16 and 128)")(
      "seconds", po::value<double>()->default_value(0.5, "0.5")->value_name("S"),
      "time to spend on each case");
  add_whole_options(line);
  add_compare_options(line);
  add_running_options(line);
  return line;
}

// The weights of one shape, type and format.
struct ShapeGroup {
  std::vector<const PackedWeight*> weights;
};

struct Case {
  std::string layer;  // "up_proj", or several names
  Index out = 0;
  Index in = 0;
  std::string dtype;
  std::string format;
  size_t weights = 0;
  int rows = 0;
  Timing dense;
  Timing sparse;
  int dense_threads = 0;
  int sparse_threads = 0;
  std::string dense_kernel;
  std::string sparse_kernel;
  bool dense_takes_bf16 = false;

  std::optional<double> speedup() const { return app::speedup(dense, sparse); }
  double spread() const { return app::spread(dense, sparse); }
  std::string_view use() const { return faster(dense, sparse); }
};

std::string module_name(const std::string& tensor) {
  const size_t end = tensor.ends_with(".weight") ? tensor.size() - 7 : tensor.size();
  const size_t dot = tensor.rfind('.', end - 1);
  return tensor.substr(dot == std::string::npos ? 0 : dot + 1,
                       end - (dot == std::string::npos ? 0 : dot + 1));
}

using GroupKey = std::tuple<Index, Index, DType, std::string>;

std::map<GroupKey, ShapeGroup> group_by_shape(const PackedCheckpoint& packed) {
  std::map<GroupKey, ShapeGroup> groups;
  for (const PackedWeight& w : packed.weights()) {
    groups[{w.out, w.in, w.dtype, format_in_words(w)}].weights.push_back(&w);
  }
  return groups;
}

// One weight ready to multiply both ways.
struct Contender {
  kernels::Plan sparse;
  std::unique_ptr<DenseLinear> dense;
};

Contender make_contender(const PackedCheckpoint& packed, const PackedWeight& weight) {
  Contender contender{prepare(packed, weight), nullptr};
  visit_dtype(weight.dtype, [&]<class T>() {
    const Matrix<T> dense = packed.unpack<T>(weight);
    if constexpr (std::is_same_v<T, bf16>) {
      contender.dense = std::make_unique<DenseLinear>(dense.data(), DenseType::kBf16, weight.out, weight.in);
    } else {
      Matrix<float> widened(dense.rows(), dense.cols());
      std::transform(dense.data(), dense.data() + dense.size(), widened.data(),
                     [](const T& value) { return float(value); });
      contender.dense = std::make_unique<DenseLinear>(widened.data(), DenseType::kF32, weight.out, weight.in);
    }
  });
  return contender;
}

class ShapeBench {
 public:
  ShapeBench(const PackedCheckpoint& packed, const ShapeGroup& group) : first_(*group.weights.front()) {
    const size_t enough = size_t(1 + kRotatedBytes / std::max<uint64_t>(1, first_.dense_bytes()));
    for (size_t i = 0; i < std::min(enough, group.weights.size()); ++i) {
      check_interrupted();
      contenders_.push_back(make_contender(packed, *group.weights[i]));
    }
  }

  void measure(double seconds, Case& result) {
    const int n = result.rows;
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    x_.resize(size_t(n) * size_t(first_.in));
    for (float& value : x_) value = normal(random);
    y_.resize(size_t(n) * size_t(first_.out));
    check_agreement(n);
    result.dense_threads = better_threads([&](const Contender& c) { run_dense(c, n); });
    result.sparse_threads = better_threads([&](const Contender& c) { run_sparse(c, n); });
    result.dense_takes_bf16 = contenders_.front().dense->takes_bf16();
    result.sparse_kernel = contenders_.front().sparse.kernel_name(n);
    Passes dense, sparse;
    const auto end = Clock::now() + std::chrono::duration<double>(seconds);
    while (dense.size() < kLeastPasses || Clock::now() < end) {
      check_interrupted();
      omp_set_num_threads(result.dense_threads);
      dense.push_back(pass([&](const Contender& c) { run_dense(c, n); }));
      omp_set_num_threads(result.sparse_threads);
      sparse.push_back(pass([&](const Contender& c) { run_sparse(c, n); }));
    }
    omp_set_num_threads(result.dense_threads);
    result.dense_kernel = contenders_.front().dense->implementation(n);
    omp_set_num_threads(threads_);
    result.dense = evaluate(dense);
    result.sparse = evaluate(sparse);
  }

 private:
  void run_dense(const Contender& c, int n) { c.dense->run(x_.data(), first_.in, y_.data(), first_.out, n); }
  void run_sparse(const Contender& c, int n) {
    c.sparse.run({x_.data(), first_.in, y_.data(), first_.out, n});
  }

  template <class Run>
  static double timed(Run&& run, const Contender& contender) {
    const auto start = Clock::now();
    run(contender);
    return seconds_since(start);
  }

  // One product with every weight.
  template <class Run>
  std::vector<double> pass(Run&& run) {
    std::vector<double> seconds;
    for (const Contender& contender : contenders_) seconds.push_back(timed(run, contender));
    return seconds;
  }

  // All threads or one, whichever is faster: small products lose by sharing, and on a busy machine threads
  // wait for each other. How they wait is fixed when the program starts (OMP_WAIT_POLICY); how many there are
  // is not. Also the warm-up: every contender runs.
  template <class Run>
  int better_threads(Run&& run) {
    double all = std::numeric_limits<double>::infinity();
    double one = all;
    pass(run);
    for (int trial = 0; trial < kTrials && threads_ > 1; ++trial) {
      omp_set_num_threads(threads_);
      all = std::min(all, timed(run, contenders_.front()));
      omp_set_num_threads(1);
      if (trial == 0) run(contenders_.front());  // plans it
      one = std::min(one, timed(run, contenders_.front()));
    }
    const int better = one < all ? 1 : threads_;
    omp_set_num_threads(better);
    pass(run);
    omp_set_num_threads(threads_);
    return better;
  }

  void check_agreement(int n) {
    const Contender& c = contenders_.front();
    run_dense(c, n);
    const std::vector<float> expected = y_;
    run_sparse(c, n);
    const Agreement agreement = compare(expected, y_);
    if (agreement.is_within(kTolerance)) return;
    const std::string difference = agreement.same_special ? fmt::format("by {:.3g} (largest value {:.3g})",
                                                                        agreement.error, agreement.largest)
                                                          : "in where it is infinite or NaN";
    throw_runtime(fmt::format("{}: the sparse kernel {} differs from the dense product {}",
                              quote_name(first_.tensor), c.sparse.kernel_name(n), difference));
  }

  const PackedWeight& first_;
  std::vector<Contender> contenders_;
  std::vector<float> x_;
  std::vector<float> y_;
  const int threads_ = omp_get_max_threads();
};

std::string modules_of(const ShapeGroup& group) {
  std::vector<std::string> modules;
  for (const PackedWeight* weight : group.weights) modules.push_back(module_name(weight->tensor));
  return join_distinct(modules, " ");
}

std::vector<int> rows_to_measure(const std::vector<int>& given) {
  if (given.empty()) return {1, 16, 128};
  for (const int rows : given) {
    if (rows < 1 || rows > 65536) throw_usage(fmt::format("--rows {}: expected 1 to 65536", rows));
  }
  return given;
}

std::string milliseconds(double seconds) { return fmt::format("{:.4f} ms", seconds * 1e3); }

std::string in_words(const Case& c) {
  const auto ratio = c.speedup();
  const std::string spread = fmt::format("±{:.0f}%", c.spread() * 100);
  return ratio ? fmt::format("{:.2f} {}", *ratio, spread) : "unsteady " + spread;
}

std::string bench_table(const std::vector<Case>& cases) {
  Table table({"weight", "out x in", "type", "format", "rows", "dense", "sparse", "speed-up", "use"});
  for (const Case& c : cases) {
    table.add({printable(c.layer), fmt::format("{} x {}", c.out, c.in), c.dtype, c.format,
               std::to_string(c.rows), milliseconds(c.dense.seconds), milliseconds(c.sparse.seconds),
               in_words(c), std::string(c.use())});
  }
  return table.text();
}

// Time in the linear layers for one pass with the better of the two everywhere, and all dense.
std::string totals(const std::vector<Case>& cases) {
  struct Sum {
    double dense = 0;
    double better = 0;
    bool is_steady = true;
  };
  std::map<int, Sum> by_rows;
  for (const Case& c : cases) {
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

// What ran: names, threads, and types where they are not the file's.
std::string fine_print(const std::vector<Case>& cases) {
  std::vector<std::string> dense, sparse, notes;
  for (const Case& c : cases) {
    dense.push_back(with_threads(c.dense_kernel, c.dense_threads));
    sparse.push_back(with_threads(c.sparse_kernel, c.sparse_threads));
    const auto dtype = parse_dtype(c.dtype);
    if (!has_kernels(*dtype)) {
      notes.push_back(fmt::format("{} weights are multiplied as F32, dense and sparse.\n", c.dtype));
    } else if (dtype == DType::kBF16 && !c.dense_takes_bf16) {
      notes.push_back("This processor has no BF16 products: oneDNN multiplies BF16 weights as F32.\n");
    }
  }
  return fmt::format("Dense: oneDNN {}: {}.\nSparse: {}.\n{}", DenseLinear::library_version(),
                     join_distinct(dense), join_distinct(sparse), join_distinct(notes, ""));
}

nlohmann::json to_json(const Case& c) {
  const auto ratio = c.speedup();
  const auto dtype = parse_dtype(c.dtype);
  const bool dense_in_file_type = dtype == DType::kBF16 ? c.dense_takes_bf16 : dtype == DType::kF32;
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
          {"speedup", ratio ? nlohmann::json(*ratio) : nlohmann::json()},
          {"dense_kernel", c.dense_kernel},
          {"sparse_kernel", c.sparse_kernel},
          {"dense_threads", c.dense_threads},
          {"sparse_threads", c.sparse_threads},
          {"dense_dtype", dense_in_file_type ? c.dtype : "F32"},
          {"sparse_dtype", has_kernels(*dtype) ? c.dtype : "F32"},
          {"use", ratio ? nlohmann::json(c.use()) : nlohmann::json()}};
}

nlohmann::json to_json(const std::vector<Case>& cases, int threads) {
  nlohmann::json list = nlohmann::json::array();
  for (const Case& c : cases) list.push_back(to_json(c));
  return {{"threads", threads},
          {"peer", std::string("oneDNN ") + DenseLinear::library_version()},
          {"isa", kernels::isa::level_name(kernels::isa::supported())},
          {"cases", list}};
}

}  // namespace

int bench_command(const Arguments& arguments) {
  CommandLine line = make_line();
  if (!line.parse(arguments)) return kDone;
  if (line.has("compare")) return compare_command(line);
  if (line.has("fail-below") || line.has("counter")) {
    throw_usage("--fail-below and --counter go with --compare OLD NEW");
  }
  if (line.flag("whole")) return whole_bench_command(line);
  refuse_whole_options(line);
  const std::vector<int> rows = rows_to_measure(line.numbers("rows"));
  const double seconds = *line.maybe_number("seconds");
  if (!(seconds > 0)) throw_usage("--seconds must be above 0");
  if (line.threads() > 0) omp_set_num_threads(line.threads());
  const Checkpoint checkpoint(line.maybe_text("model").value_or("."));
  if (!PackedCheckpoint::is_packed(checkpoint)) {
    throw_input(shown(checkpoint.path()) + ": is not packed; 'prune pack' it first");
  }
  const PackedCheckpoint packed(checkpoint);
  if (packed.weights().empty()) {
    throw_input(shown(checkpoint.path()) + ": holds no packed weight: there is nothing to time");
  }
  std::vector<Case> cases;
  for (const auto& [key, group] : group_by_shape(packed)) {
    const auto& [out, in, dtype, format] = key;
    ShapeBench bench(packed, group);
    for (const int n : rows) {
      Case result{.layer = modules_of(group),
                  .out = out,
                  .in = in,
                  .dtype = std::string(name(dtype)),
                  .format = format,
                  .weights = group.weights.size(),
                  .rows = n,
                  .dense = {},
                  .sparse = {},
                  .dense_kernel = {},
                  .sparse_kernel = {}};
      bench.measure(seconds, result);
      cases.push_back(std::move(result));
    }
  }
  if (line.flag("json")) {
    fmt::print("{}", json_text(to_json(cases, omp_get_max_threads())));
  } else {
    fmt::print("{}\n{}\n{}", bench_table(cases), totals(cases), fine_print(cases));
  }
  return kDone;
}

}  // namespace prune::app
