// How fast update::sparsegpt is on one matrix, beside oneDNN's product of floats in the same process.
//
//   build/release/bench/update_bench OUT IN PATTERN SPARSITY [REPETITIONS]
//
// prints one JSON object. Weights and inputs are random; W and G are the same for every repetition. GFLOP/s
// count what the algorithm cannot do without, a multiplication and an addition being two: in^3 / 3 of the
// factor and out in^2 of the updates. The peak is the best of dnnl_sgemm with m = n = k = 4096. Times are the
// shortest seen.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <limits>
#include <random>
#include <string>

#include <omp.h>

#include <prune/update/sparsegpt.h>

#include "libprune/model/calibrated/update_products.h"
#include "libprune/model/elapsed.h"
#include "libprune/model/gemm.h"

namespace prune {
namespace {

Matrix<float> normal(Index rows, Index cols, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  Matrix<float> matrix(rows, cols);
  std::generate(matrix.data(), matrix.data() + matrix.size(), [&] { return normal(random); });
  return matrix;
}

double shortest(int repetitions, const std::function<void()>& body) {
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < repetitions; ++i) {
    const auto start = std::chrono::steady_clock::now();
    body();
    best = std::min(best, seconds_since(start));
  }
  return best;
}

double gemm_gflops(int repetitions) {
  constexpr Index n = 4096;
  const Matrix<float> a = normal(n, n, 1);
  Matrix<float> c(n, n);
  const double seconds = shortest(repetitions, [&] {
    gemm({.m = n, .n = n, .k = n, .transpose_b = Transpose::kYes}, a.data(), n, a.data(), n, c.data(), n);
  });
  return 2e-9 * double(n * n) * double(n) / seconds;
}

// G of inputs whose sizes and directions differ, as those of a transformer do.
Matrix<float> gram_of_inputs(Index in) {
  const Index tokens = in / 2;
  Matrix<float> x = normal(tokens, in, 2), gram(in, in);
  for (Index j = 0; j < in; ++j) x.col(j) *= 0.2F + float(j % 17) / 8;
  gemm({.m = in, .n = in, .k = tokens, .transpose_a = Transpose::kYes}, x.data(), in, x.data(), in,
       gram.data(), in);
  return gram;
}

int run(Index out, Index in, const Pattern& pattern, double sparsity, int repetitions) {
  use_gemm_in_updates();
  const Matrix<float> dense = normal(out, in, 3), gram = gram_of_inputs(in);
  Matrix<float> weights;
  double loss = 0;
  double seconds = std::numeric_limits<double>::infinity(), peak = 0;
  for (int i = 0; i < repetitions; ++i) {  // in turn, so that both see the same machine
    peak = std::max(peak, gemm_gflops(1));
    weights = dense;
    seconds = std::min(seconds,
                       shortest(1, [&] { loss = update::sparsegpt(weights, gram, pattern, sparsity).loss; }));
  }
  const double work =
      1e-9 * (double(in) * double(in) * double(in) / 3 + double(out) * double(in) * double(in));
  std::printf(
      "{\"out\": %td, \"in\": %td, \"pattern\": \"%s\", \"threads\": %d, \"seconds\": %.4f, \"gflops\": "
      "%.1f, "
      "\"gemm_gflops\": %.1f, \"share_of_gemm\": %.3f, \"loss\": %.6g}\n",
      out, in, to_string(pattern).c_str(), omp_get_max_threads(), seconds, work / seconds, peak,
      work / seconds / peak, loss);
  return 0;
}

}  // namespace
}  // namespace prune

int main(int argc, char** argv) try {
  if (argc < 5) {
    std::fprintf(stderr, "usage: update_bench OUT IN PATTERN SPARSITY [REPETITIONS]\n");
    return 2;
  }
  return prune::run(std::atoll(argv[1]), std::atoll(argv[2]), prune::parse_pattern(argv[3]),
                    std::atof(argv[4]), argc > 5 ? std::atoi(argv[5]) : 3);
} catch (const std::exception& fault) {
  std::fprintf(stderr, "update_bench: %s\n", fault.what());
  return 1;
}
