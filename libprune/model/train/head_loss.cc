#include "libprune/model/train/head_loss.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/sparse/row_math/row_math.h"

namespace prune {
namespace {

// Of one model at a time: 16 MB. With half as many the head's gradient, as large, is read and written twice
// as often.
constexpr int64_t kLogitFloats = 1 << 22;

GemmOperand head_operand(const HeadInput& input, Precision precision, Bf16Memory& memory) {
  const FloatMatrix& head = *input.head;
  return gemm_operand(head.data(), head.cols(), head.rows(), head.cols(), precision, memory);
}

void logits_of(const HeadInput& input, const GemmOperand& head, Precision precision, int64_t first,
               int64_t count, FloatMatrix& logits) {
  logits.resize(count, input.head->rows());
  gemm({.m = count,
        .n = logits.cols(),
        .k = input.head->cols(),
        .transpose_b = Transpose::kYes,
        .precision = precision},
       {input.normed->row(first), input.head->cols()}, head, logits.data(), logits.cols());
}

// factor softmax(z) in place of z; returns the logarithm of the denominator, so that log p = z - it.
double softmax(float* z, int64_t n, double factor = 1) {
  const kernels::RowMath& math = kernels::row_math();
  const float largest = math.largest(z, n);
  const double sum = double(math.exp_and_sum(z, n, largest));
  math.scale(z, n, float(factor / sum));
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
    const auto hard = float(scale_ * (1 - options_.distillation));
    const double target_logit = double(z[target]);
    if (teacher == nullptr) {
      loss.cross_entropy = softmax(z, n, double(hard)) - target_logit;
    } else {
      scratch.resize(2 * size_t(n));
      float *own = scratch.data(), *difference = own + n;
      const auto inverse = float(1 / options_.temperature);
      for (int64_t v = 0; v < n; ++v) {
        own[v] = inverse * z[v];
        teacher[v] *= inverse;
        difference[v] = teacher[v] - own[v];
      }
      const double denominator = softmax(z, n);
      loss.cross_entropy = denominator - target_logit;
      // At a temperature of 1 the two softmaxes are one.
      const bool is_one = inverse == 1;
      const double own_denominator = is_one ? denominator : softmax(own, n);
      loss.divergence = add_distillation(z, is_one ? z : own, own_denominator, teacher, difference, n);
    }
    z[target] -= hard;
    return loss;
  }

 private:
  // From softmax(z) in `gradient` to (1 - a) softmax(z) + a T (q - p), times scale_, with q = softmax(z / T),
  // which may be `gradient`, and p from the teacher's logits over T. sum_v p_v (log p_v - log q_v) needs no
  // logarithm of each: it is sum_v p_v difference_v less the difference of the denominators' logarithms.
  double add_distillation(float* gradient, const float* q, double denominator, float* teacher,
                          const float* difference, int64_t n) const {
    const double t = options_.temperature;
    const auto hard = float(scale_ * (1 - options_.distillation));
    const auto soft = float(scale_ * options_.distillation * t);
    const double teacher_denominator = softmax(teacher, n);
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t v = 0; v < n; ++v) {
      sum += double(teacher[v]) * double(difference[v]);
      gradient[v] = hard * gradient[v] + soft * (q[v] - teacher[v]);
    }
    return t * t * (sum - (teacher_denominator - denominator));
  }

  const HeadLossOptions& options_;
  double scale_;
};

}  // namespace

HeadLoss head_loss(const HeadInput& student, const HeadInput* teacher, std::span<const int32_t> targets,
                   const HeadLossOptions& options, HeadLossBuffers& buffers, FloatMatrix* dnormed,
                   FloatMatrix* dhead) {
  const auto n = static_cast<int64_t>(targets.size());
  const int64_t vocabulary = student.head->rows(), width = student.head->cols();
  HeadLoss total{.predictions = std::ranges::count_if(targets, [](int32_t target) { return target >= 0; })};
  const int64_t shared = options.predictions > 0 ? options.predictions : total.predictions;
  const double scale = 1 / double(std::max<int64_t>(1, shared));
  const TokenGradient gradient(options, scale);
  if (dnormed != nullptr) dnormed->resize(n, width);
  FloatMatrix &logits = buffers.logits, &teacher_logits = buffers.teacher_logits;
  const GemmOperand head = head_operand(student, options.precision, buffers.head);
  const GemmOperand teacher_head =
      teacher == nullptr ? GemmOperand{} : head_operand(*teacher, options.precision, buffers.teacher_head);
  const int64_t block = std::max<int64_t>(1, kLogitFloats / vocabulary);
  for (int64_t first = 0; first < n; first += block) {
    const int64_t count = std::min(block, n - first);
    logits_of(student, head, options.precision, first, count, logits);
    if (teacher != nullptr)
      logits_of(*teacher, teacher_head, options.precision, first, count, teacher_logits);
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
    const GemmOperand slopes =
        gemm_operand(logits.data(), vocabulary, count, vocabulary, options.precision, buffers.slopes);
    gemm({.m = count, .n = width, .k = vocabulary, .precision = options.precision}, slopes, head,
         dnormed->row(first), width);
    gemm({.m = vocabulary,
          .n = width,
          .k = count,
          .transpose_a = Transpose::kYes,
          .beta = 1,
          .precision = options.precision},
         slopes, {student.normed->row(first), width}, dhead->data(), width);
  }
  return total;
}

}  // namespace prune
