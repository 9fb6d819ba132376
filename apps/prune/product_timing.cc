#include "apps/prune/product_timing.h"

#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <map>
#include <memory>
#include <random>
#include <tuple>

#include <prune/error.h>

#include "apps/prune/agreement.h"
#include "apps/prune/terminal.h"
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

std::string module_name(const std::string& tensor) {
  const size_t end = tensor.ends_with(".weight") ? tensor.size() - 7 : tensor.size();
  const size_t dot = tensor.rfind('.', end - 1);
  return tensor.substr(dot == std::string::npos ? 0 : dot + 1,
                       end - (dot == std::string::npos ? 0 : dot + 1));
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
  ShapeBench(const PackedCheckpoint& packed, const WeightGroup& group)
      : first_(*group.weights.front()), packed_bytes_(packed.bytes(first_)), kept_(packed.kept(first_)) {
    const size_t enough = size_t(1 + kRotatedBytes / std::max<uint64_t>(1, first_.dense_bytes()));
    for (size_t i = 0; i < std::min(enough, group.weights.size()); ++i) {
      check_interrupted();
      contenders_.push_back(make_contender(packed, *group.weights[i]));
    }
  }

  void measure(double seconds, ProductTiming& result) {
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
    result.bytes = double(packed_bytes_) + 4.0 * n * double(first_.out + first_.in);
    result.products = double(kept_) * n / (result.sparse_kernel.ends_with("avx512bf16") ? 2 : 1);
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
  const uint64_t packed_bytes_;
  const int64_t kept_;
  std::vector<Contender> contenders_;
  std::vector<float> x_;
  std::vector<float> y_;
  const int threads_ = omp_get_max_threads();
};

std::string modules_of(const WeightGroup& group) {
  std::vector<std::string> modules;
  for (const PackedWeight* weight : group.weights) modules.push_back(module_name(weight->tensor));
  return join_distinct(modules, " ");
}

}  // namespace

ProductTiming WeightGroup::timing(int rows) const {
  const PackedWeight& first = *weights.front();
  ProductTiming timing;
  timing.layer = modules_of(*this);
  timing.out = first.out;
  timing.in = first.in;
  timing.dtype = std::string(name(first.dtype));
  timing.format = format_in_words(first);
  timing.weights = weights.size();
  timing.rows = rows;
  return timing;
}

std::vector<WeightGroup> group_by_shape(const PackedCheckpoint& packed) {
  std::map<std::tuple<Index, Index, DType, std::string>, WeightGroup> groups;
  for (const PackedWeight& w : packed.weights()) {
    groups[{w.out, w.in, w.dtype, format_in_words(w)}].weights.push_back(&w);
  }
  std::vector<WeightGroup> list;
  list.reserve(groups.size());
  for (auto& [key, group] : groups) list.push_back(std::move(group));
  return list;
}

std::vector<ProductTiming> time_products(const PackedCheckpoint& packed, const std::vector<int>& rows,
                                         double seconds, bench::Roof& roof) {
  std::vector<ProductTiming> timings;
  for (const WeightGroup& group : group_by_shape(packed)) {
    ShapeBench bench(packed, group);
    for (const int n : rows) {
      ProductTiming result = group.timing(n);
      roof.look_again();
      bench.measure(seconds, result);
      timings.push_back(std::move(result));
    }
  }
  return timings;
}

}  // namespace prune::app
