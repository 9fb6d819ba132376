#include "libprune/model/train/head_loss.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/sparse/row_math/row_math.h"

namespace prune {
namespace {

constexpr int64_t kLogitFloats = 1 << 21;  // of one model at a time: 8 MB

void logits_of(const HeadInput& input, Precision precision, int64_t first, int64_t count,
               FloatMatrix& logits) {
  logits.resize(count, input.head->rows());
  gemm({.m = count,
        .n = logits.cols(),
        .k = input.head->cols(),
        .transpose_b = Transpose::kYes,
        .precision = precision},
       input.normed->row(first), input.head->cols(), input.head->data(), input.head->cols(), logits.data(),
       logits.cols());
}

// softmax(z / temperature) in place of z; returns the logarithm of the denominator, so that log p = z / T -
// it.
double softmax(float* z, int64_t n, double temperature) {
  const auto scale = float(1 / temperature);
  if (temperature != 1) {
    for (int64_t i = 0; i < n; ++i) z[i] *= scale;
  }
  const float largest = *std::max_element(z, z + n);
  const double sum = double(kernels::row_math().exp_and_sum(z, n, largest));
  const auto inverse = float(1 / sum);
  for (int64_t i = 0; i < n; ++i) z[i] *= inverse;
  return double(largest) + std::log(sum);
}

struct TokenLoss {
  double cross_entropy = 0, divergence = 0;
};

// One token: from its logits z, and the teacher's, to the losses; z becomes the gradient, times `scale`.
class TokenGradient {
 public:
  TokenGradient(const HeadLossOptions& options, double scale) : options_(options), scale_(scale) {}

  TokenLoss run(float* z, float* teacher, int64_t n, int32_t target, std::vector<float>& scratch) const {
    TokenLoss loss;
    const double hard = scale_ * (1 - options_.distillation);
    if (teacher != nullptr) scratch.assign(z, z + n);
    const double target_logit = double(z[target]);
    loss.cross_entropy = softmax(z, n, 1) - target_logit;
    for (int64_t v = 0; v < n; ++v) z[v] *= float(hard);
    z[target] -= float(hard);
    if (teacher != nullptr) loss.divergence = add_distillation(z, scratch.data(), teacher, n);
    return loss;
  }

 private:
  // Adds a T (q - p) to the gradient; `own` are the logits again.
  double add_distillation(float* gradient, float* own, float* teacher, int64_t n) const {
    const double t = options_.temperature;
    const auto factor = float(scale_ * options_.distillation * t);
    softmax(teacher, n, t);
    softmax(own, n, t);
    double divergence = 0;
    for (int64_t v = 0; v < n; ++v) {
      const double p = double(teacher[v]), q = double(own[v]);
      if (p > 0) divergence += p * std::log(p / std::max(q, 1e-38));
      gradient[v] += factor * (own[v] - teacher[v]);
    }
    return t * t * divergence;
  }

  const HeadLossOptions& options_;
  double scale_;
};

}  // namespace

HeadLoss head_loss(const HeadInput& student, const HeadInput* teacher, std::span<const int32_t> targets,
                   const HeadLossOptions& options, FloatMatrix* dnormed, FloatMatrix* dhead) {
  const auto n = static_cast<int64_t>(targets.size());
  const int64_t vocabulary = student.head->rows(), width = student.head->cols();
  HeadLoss total{.predictions = std::ranges::count_if(targets, [](int32_t target) { return target >= 0; })};
  const double scale = 1 / double(std::max<int64_t>(1, total.predictions));
  const TokenGradient gradient(options, scale);
  if (dnormed != nullptr) dnormed->resize(n, width);
  FloatMatrix logits, teacher_logits;
  const int64_t block = std::max<int64_t>(1, kLogitFloats / vocabulary);
  for (int64_t first = 0; first < n; first += block) {
    const int64_t count = std::min(block, n - first);
    logits_of(student, options.precision, first, count, logits);
    if (teacher != nullptr) logits_of(*teacher, options.precision, first, count, teacher_logits);
    double cross_entropy = 0, divergence = 0;
#pragma omp parallel for reduction(+ : cross_entropy, divergence) schedule(static)
    for (int64_t i = 0; i < count; ++i) {
      thread_local std::vector<float> scratch;
      const int32_t target = targets[size_t(first + i)];
      if (target < 0) {
        std::fill_n(logits.row(i), vocabulary, 0.0F);
        continue;
      }
      const TokenLoss loss = gradient.run(logits.row(i), teacher == nullptr ? nullptr : teacher_logits.row(i),
                                          vocabulary, target, scratch);
      cross_entropy += loss.cross_entropy;
      divergence += loss.divergence;
    }
    total.cross_entropy += cross_entropy * scale;
    total.divergence += divergence * scale;
    if (dnormed == nullptr) continue;
    gemm({.m = count, .n = width, .k = vocabulary, .precision = options.precision}, logits.data(), vocabulary,
         student.head->data(), width, dnormed->row(first), width);
    gemm({.m = vocabulary,
          .n = width,
          .k = count,
          .transpose_a = Transpose::kYes,
          .beta = 1,
          .precision = options.precision},
         logits.data(), vocabulary, student.normed->row(first), width, dhead->data(), width);
  }
  return total;
}

}  // namespace prune
