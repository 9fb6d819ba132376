// prune bench MODEL: is the packed model faster here, and by how much?
#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <memory>
#include <random>
#include <tuple>

#include <nlohmann/json.hpp>

#include <prune/error.h>

#include "apps/prune/command.h"
#include "apps/prune/exit_codes.h"
#include "apps/prune/terminal.h"
#include "libprune/io/staging.h"
#include "libprune/model/dense_linear.h"
#include "libprune/model/packed_kernels.h"
#include "libprune/model/tensor_visit.h"

namespace prune::app {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kRotatedBytes =
    size_t(96) << 20;  // dense bytes to walk through: beyond last-level caches, as a whole model is
constexpr double kSampleSeconds = 0.004;  // one timing; long against the clock and short against other load
constexpr double kTolerance =
    0.02;  // largest |sparse - dense| against the largest |dense|, bf16 rounding included

CommandLine make_line() {
  CommandLine line(
      "prune bench [MODEL] [-n ROWS]... [options]",
      "Times every weight shape of a packed checkpoint with its real masks: the dense product by oneDNN in "
      "the file's own\n"
      "type, weights laid out in advance, against the sparse kernel, in turns. Says which to use.",
      "Times are medians for one product Y[rows, out] = X[rows, in] W^T, in turns over the model's weights "
      "of that shape, as\n"
      "inference meets them (rows 1: decoding one sequence; rows 128: a batch or a prompt).\n"
      "The peer and the kernel are checked against each other before they are timed.\n"
      "\nExample:\n  prune bench Llama-3-8B-packed --rows 1 --rows 128\n");
  line.positional("model");
  line.options()("rows,n", po::value<std::vector<int>>()->composing()->value_name("ROWS"),
                 "rows of X, may be repeated (default: 1, 16 and 128)")(
      "seconds", po::value<double>()->default_value(0.5, "0.5")->value_name("S"),
      "time to spend on each case");
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
  double dense_seconds = 0;
  double sparse_seconds = 0;
  double spread = 0;  // of the speed-up: half the distance of its quartiles, relative
  std::string dense_kernel;
  std::string sparse_kernel;
  double speedup() const { return dense_seconds / sparse_seconds; }
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
    result.dense_kernel = contenders_.front().dense->implementation(n);
    result.sparse_kernel = contenders_.front().sparse.kernel_name(n);
    const int products = products_per_sample(n);
    std::vector<double> dense, sparse, ratios;
    const auto end = Clock::now() + std::chrono::duration<double>(seconds);
    while (ratios.size() < 5 || Clock::now() < end) {
      check_interrupted();
      dense.push_back(sample(products, [&](const Contender& c) { run_dense(c, n); }));
      sparse.push_back(sample(products, [&](const Contender& c) { run_sparse(c, n); }));
      ratios.push_back(dense.back() / sparse.back());
    }
    result.dense_seconds = median(dense);
    result.sparse_seconds = median(sparse);
    std::ranges::sort(ratios);
    result.spread =
        (ratios[ratios.size() * 3 / 4] - ratios[ratios.size() / 4]) / 2 / ratios[ratios.size() / 2];
  }

 private:
  static double median(std::vector<double> values) {
    std::ranges::nth_element(values, values.begin() + std::ptrdiff_t(values.size() / 2));
    return values[values.size() / 2];
  }

  void run_dense(const Contender& c, int n) { c.dense->run(x_.data(), first_.in, y_.data(), first_.out, n); }
  void run_sparse(const Contender& c, int n) {
    c.sparse.run({x_.data(), first_.in, y_.data(), first_.out, n});
  }

  // Seconds a product, over `products` of them that walk through the weights.
  template <class Run>
  double sample(int products, Run&& run) {
    const auto start = Clock::now();
    for (int i = 0; i < products; ++i) run(contenders_[next_++ % contenders_.size()]);
    return std::chrono::duration<double>(Clock::now() - start).count() / products;
  }

  // Also the warm-up: every contender runs both ways.
  int products_per_sample(int n) {
    double slowest = 1e-9;
    for (const Contender& c : contenders_) {
      run_sparse(c, n);
      slowest = std::max(slowest, sample(1, [&](const Contender& next) { run_dense(next, n); }));
    }
    return std::clamp(int(kSampleSeconds / slowest), 1, 10000);
  }

  void check_agreement(int n) {
    const Contender& c = contenders_.front();
    run_dense(c, n);
    const std::vector<float> expected = y_;
    run_sparse(c, n);
    float largest = 0, error = 0;
    for (size_t i = 0; i < y_.size(); ++i) {
      largest = std::max(largest, std::abs(expected[i]));
      error = std::max(error, std::abs(expected[i] - y_[i]));
    }
    if (!(error <= kTolerance * largest)) {
      throw_runtime(fmt::format(
          "'{}': the sparse kernel {} differs from the dense product by {:.3g} (largest value {:.3g})",
          first_.tensor, c.sparse.kernel_name(n), error, largest));
    }
  }

  const PackedWeight& first_;
  std::vector<Contender> contenders_;
  std::vector<float> x_;
  std::vector<float> y_;
  size_t next_ = 0;
};

std::string modules_of(const ShapeGroup& group) {
  std::string text;
  for (const PackedWeight* weight : group.weights) {
    const std::string module = module_name(weight->tensor);
    if (text.find(module) == std::string::npos) text += (text.empty() ? "" : " ") + module;
  }
  return text;
}

std::vector<int> rows_to_measure(const std::vector<int>& given) {
  if (given.empty()) return {1, 16, 128};
  for (const int rows : given) {
    if (rows < 1 || rows > 65536) throw_usage(fmt::format("--rows {}: expected 1 to 65536", rows));
  }
  return given;
}

std::string milliseconds(double seconds) { return fmt::format("{:.4f} ms", seconds * 1e3); }

std::string bench_table(const std::vector<Case>& cases) {
  Table table({"weight", "out x in", "type", "format", "rows", "dense", "sparse", "speed-up", "use"});
  for (const Case& c : cases) {
    table.add({printable(c.layer), fmt::format("{} x {}", c.out, c.in), c.dtype, c.format,
               std::to_string(c.rows), milliseconds(c.dense_seconds), milliseconds(c.sparse_seconds),
               fmt::format("{:.2f} ±{:.0f}%", c.speedup(), c.spread * 100),
               c.speedup() >= 1 ? "sparse" : "dense"});
  }
  return table.text();
}

// Time in the linear layers for one pass with the better of the two everywhere, and all dense.
std::string totals(const std::vector<Case>& cases) {
  std::map<int, std::pair<double, double>> by_rows;
  for (const Case& c : cases) {
    by_rows[c.rows].first += double(c.weights) * c.dense_seconds;
    by_rows[c.rows].second += double(c.weights) * std::min(c.dense_seconds, c.sparse_seconds);
  }
  std::string text;
  for (const auto& [rows, seconds] : by_rows) {
    text += fmt::format(
        "All packed layers, {} row{}: dense {}, with the better of the two {}: {:.2f} times as fast\n", rows,
        rows == 1 ? "" : "s", milliseconds(seconds.first), milliseconds(seconds.second),
        seconds.first / seconds.second);
  }
  return text;
}

nlohmann::json to_json(const std::vector<Case>& cases, int threads) {
  nlohmann::json list = nlohmann::json::array();
  for (const Case& c : cases) {
    list.push_back({{"weight", c.layer},
                    {"out", c.out},
                    {"in", c.in},
                    {"dtype", c.dtype},
                    {"format", c.format},
                    {"weights", c.weights},
                    {"rows", c.rows},
                    {"dense_seconds", c.dense_seconds},
                    {"sparse_seconds", c.sparse_seconds},
                    {"speedup", c.speedup()},
                    {"spread", c.spread},
                    {"dense_kernel", c.dense_kernel},
                    {"sparse_kernel", c.sparse_kernel},
                    {"use", c.speedup() >= 1 ? "sparse" : "dense"}});
  }
  return {{"threads", threads},
          {"peer", std::string("oneDNN ") + DenseLinear::library_version()},
          {"isa", kernels::isa::level_name(kernels::isa::supported())},
          {"cases", list}};
}

}  // namespace

int bench_command(const Arguments& arguments) {
  CommandLine line = make_line();
  if (!line.parse(arguments)) return kDone;
  const std::vector<int> rows = rows_to_measure(line.numbers("rows"));
  const double seconds = *line.maybe_number("seconds");
  if (!(seconds > 0)) throw_usage("--seconds must be above 0");
  if (line.threads() > 0) omp_set_num_threads(line.threads());
  const Checkpoint checkpoint(line.maybe_text("model").value_or("."));
  if (!PackedCheckpoint::is_packed(checkpoint)) {
    throw_input(checkpoint.path().string() + ": is not packed; 'prune pack' it first");
  }
  const PackedCheckpoint packed(checkpoint);
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
                  .dense_kernel = {},
                  .sparse_kernel = {}};
      bench.measure(seconds, result);
      cases.push_back(std::move(result));
    }
  }
  if (line.flag("json")) {
    fmt::print("{}", json_text(to_json(cases, omp_get_max_threads())));
  } else {
    fmt::print("{}\n{}\nDense: oneDNN {}. Sparse: instruction set level {}. {} threads.\n",
               bench_table(cases), totals(cases), DenseLinear::library_version(),
               kernels::isa::level_name(kernels::isa::supported()), omp_get_max_threads());
  }
  return kDone;
}

}  // namespace prune::app
