#include "libprune/model/decoder/head.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/sparse/row_math/row_math.h"
#include "libprune/model/gemm.h"

namespace prune {
namespace {

constexpr int64_t kSliceFloats = 1 << 23;  // of the head's matrix held at a time: 32 MB
constexpr int64_t kLogitFloats = 1 << 23;  // of logits

// The softmax's denominator as it grows slice by slice: sum = sum_v exp(logit_v - largest).
struct Denominator {
  float largest = -std::numeric_limits<float>::infinity();
  double sum = 0;

  void add(const float* logits, int64_t n) {
    const kernels::RowMath& math = kernels::row_math();
    const float most = std::max(largest, math.largest(logits, n));
    if (most > largest) sum *= std::exp(double(largest) - double(most));
    largest = most;
    sum += math.sum_of_exp(logits, n, largest);
  }
  double log() const { return double(largest) + std::log(sum); }
};

void multiply(Precision precision, const float* hidden, int64_t n, const FloatMatrix& head, float* logits,
              int64_t ld) {
  gemm({.m = n, .n = head.rows(), .k = head.cols(), .transpose_b = Transpose::kYes, .precision = precision},
       hidden, head.cols(), head.data(), head.cols(), logits, ld);
}

int64_t slice_rows(const DecoderConfig& config) {
  return std::clamp<int64_t>(kSliceFloats / config.width, 1, config.vocabulary);
}

// Calls body(first row, matrix) with a slice of the head after another.
template <class Body>
void for_each_slice(const Decoder& decoder, Body&& body) {
  const DecoderConfig& config = decoder.config();
  const int64_t most = slice_rows(config);
  FloatMatrix head;
  for (int64_t first = 0; first < config.vocabulary; first += most) {
    head.resize(std::min(most, config.vocabulary - first), config.width);
    decoder.load_head_rows(first, head.rows(), head.data());
    body(first, head);
  }
}

}  // namespace

size_t head_bytes(const DecoderConfig& config) {
  return size_t(slice_rows(config) * config.width + kLogitFloats) * sizeof(float);
}

FloatMatrix compute_logits(const Decoder& decoder, const float* hidden, int64_t n) {
  const DecoderConfig& config = decoder.config();
  const Norm norm = decoder.load_final_norm();
  FloatMatrix x(n, config.width), logits(n, config.vocabulary);
  std::copy(hidden, hidden + x.size(), x.data());
  if (norm.exists()) norm.apply(x.data(), x.data(), n);
  for_each_slice(decoder, [&](int64_t first, const FloatMatrix& head) {
    multiply(decoder.precision(), x.data(), n, head, logits.data() + first, config.vocabulary);
  });
  return logits;
}

void cross_entropy(const Decoder& decoder, float* hidden, std::span<const int32_t> targets,
                   std::span<float> loss) {
  const int64_t n = int64_t(targets.size()), width = decoder.config().width;
  const Norm norm = decoder.load_final_norm();
  if (norm.exists()) norm.apply(hidden, hidden, n);
  std::vector<Denominator> denominators(targets.size());
  std::vector<float> target_logits(targets.size());
  FloatMatrix logits;
  for_each_slice(decoder, [&](int64_t first_row, const FloatMatrix& head) {
    const int64_t block = std::max<int64_t>(1, kLogitFloats / head.rows());
    for (int64_t first = 0; first < n; first += block) {
      const int64_t count = std::min(block, n - first);
      logits.resize(count, head.rows());
      multiply(decoder.precision(), hidden + first * width, count, head, logits.data(), head.rows());
#pragma omp parallel for
      for (int64_t i = 0; i < count; ++i) {
        const size_t token = size_t(first + i);
        const int64_t target = targets[token] - first_row;
        if (targets[token] < 0) continue;
        denominators[token].add(logits.row(i), head.rows());
        if (target >= 0 && target < head.rows()) target_logits[token] = logits.row(i)[target];
      }
    }
  });
  for (size_t i = 0; i < loss.size(); ++i) {
    loss[i] = targets[i] < 0 ? 0 : float(denominators[i].log() - double(target_logits[i]));
  }
}

}  // namespace prune
