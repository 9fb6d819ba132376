#include "bench/inputs.h"

#include <cmath>
#include <random>

namespace prune::bench {
namespace {

constexpr double kTolerance = 2e-5;
constexpr int64_t kOutputs = 61;  // of a row of Y that are checked

}  // namespace

BatchMemory::BatchMemory(const Shape& shape, int64_t n)
    : x(static_cast<size_t>(n * shape.cols)),
      y(static_cast<size_t>(n * shape.rows)),
      view{x.data(), shape.cols, y.data(), shape.rows, n, nullptr} {
  std::minstd_rand random(7);
  for (float& value : x) {
    const auto r = static_cast<int>(random() >> 8);
    value = static_cast<float>((r & 1) != 0 ? 1 + (r >> 1) % 127 : -1 - (r >> 1) % 127) * kInputStep;
  }
  for (int64_t i = 0; i < n; ++i) x[static_cast<size_t>(i * shape.cols)] = 127 * kInputStep;
}

std::vector<int8_t> as_int8(const kernels::Batch& batch) {
  std::vector<int8_t> whole;
  for (int64_t i = 0; i < batch.n; ++i) {
    for (int64_t k = 0; k < batch.ldx; ++k)
      whole.push_back(static_cast<int8_t>(batch.x[i * batch.ldx + k] / kInputStep));
  }
  return whole;
}

std::optional<std::string> find_difference(const TestWeights& weights, const kernels::Batch& batch) {
  const int64_t rows = weights.places.shape.rows, outputs = std::min(rows, kOutputs);
  for (const int64_t i : {int64_t(0), batch.n / 2, batch.n - 1}) {
    for (int64_t o = 0; o < outputs; ++o) {
      const int64_t r = outputs == 1 ? 0 : o * (rows - 1) / (outputs - 1);
      double sum = 0, size = 0;
      for (int64_t p = weights.places.indptr[r]; p < weights.places.indptr[r + 1]; ++p) {
        const double product =
            weights.value(p) * static_cast<double>(batch.x[i * batch.ldx + weights.places.column(p)]);
        sum += product;
        size += std::abs(product);
      }
      const auto found = static_cast<double>(batch.y[i * batch.ldy + r]);
      if (std::abs(found - sum) <= kTolerance * size) continue;
      return "wrong: y[" + std::to_string(i) + "][" + std::to_string(r) + "] is " + std::to_string(found) +
             ", not " + std::to_string(sum);
    }
  }
  return std::nullopt;
}

}  // namespace prune::bench
