#include "libprune/model/train/lora_masking.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include <prune/error.h>
#include <prune/matrix.h>

#include "libprune/model/gemm.h"
#include "libprune/model/parallel.h"

namespace prune {
namespace {

constexpr float kScale = 2;  // of B A: alpha / rank, at its usual value

// One linear layer with its adapter.
struct Adapted {
  MaskedLinear linear;
  Mask mask;
  FloatMatrix start;           // W
  std::vector<float> factors;  // A [rank, in], then B [out, rank]
};

class LoraMasking : public Masking {
 public:
  LoraMasking(int64_t rank, uint64_t seed) : rank_(rank), rng_(seed) {
    if (rank < 1) throw_usage("adapters: expected a rank of 1 or more");
  }

  void begin(std::span<const MaskedLinear> linears) override {
    for (const MaskedLinear& linear : linears) {
      const int64_t out = linear.linear->out, in = linear.linear->in;
      if (rank_ * (in + out) > in * out) {
        throw_usage("adapters of rank " + std::to_string(rank_) + " are larger than " +
                    linear.linear->weight_name + ", [" + std::to_string(out) + ", " + std::to_string(in) +
                    "]: use a smaller rank");
      }
      adapted_.push_back({linear, nonzero_mask(linear.weight()), linear.linear->weight,
                          std::vector<float>(size_t(rank_ * (in + out)))});
      draw(std::span(adapted_.back().factors).first(size_t(rank_ * in)), in);
    }
  }

  bool trains_linears_only() const override { return true; }
  bool is_fixed() const override { return true; }
  const Mask* mask_of(const Linear& linear) const override {
    const Adapted* own = find(linear);
    return own == nullptr ? nullptr : &own->mask;
  }

  std::span<float> moved(const Linear& linear) const override {
    const std::vector<float>& factors = find(linear)->factors;
    return {const_cast<float*>(factors.data()), factors.size()};
  }

  void before_forward(int64_t) override {}

  // dA = 2 B^T G and dB = 2 G A^T with G = dL/dW' o M, to where G was.
  double after_backward(int64_t) override {
    for (Adapted& own : adapted_) {
      const int64_t out = own.linear.linear->out, in = own.linear.linear->in;
      float* slope = own.linear.gradient->weight.data();
      apply(own.mask, own.linear.slope());
      const float *a = own.factors.data(), *b = a + rank_ * in;
      std::vector<float> slopes(own.factors.size());
      gemm({.m = rank_, .n = in, .k = out, .transpose_a = Transpose::kYes, .alpha = kScale}, b, rank_, slope,
           in, slopes.data(), in);
      gemm({.m = out, .n = rank_, .k = in, .transpose_b = Transpose::kYes, .alpha = kScale}, slope, in, a, in,
           slopes.data() + rank_ * in, rank_);
      std::ranges::copy(slopes, slope);
    }
    return 0;
  }

  void after_update() override {
    for (Adapted& own : adapted_) {
      const int64_t out = own.linear.linear->out, in = own.linear.linear->in;
      const float *a = own.factors.data(), *b = a + rank_ * in;
      FloatMatrix& weight = own.linear.linear->weight;
      weight = own.start;
      gemm({.m = out, .n = in, .k = rank_, .alpha = kScale, .beta = 1}, b, rank_, a, in, weight.data(), in);
      apply(own.mask, own.linear.weight());
    }
  }

  // The factors are what the optimizer moves; the rest follows from the model.
  void visit(StateVisitor&) override {}

 private:
  const Adapted* find(const Linear& linear) const {
    const auto own = std::ranges::find(adapted_, &linear, [](const Adapted& a) { return a.linear.linear; });
    return own == adapted_.end() ? nullptr : &*own;
  }

  // Uniform with the variance 1 / (3 in), from the bits of the generator: the same with every library.
  void draw(std::span<float> values, int64_t in) {
    const double bound = 1 / std::sqrt(double(in));
    for (float& value : values) value = float(bound * (2 * double(rng_() >> 11) / double(1ULL << 53) - 1));
  }

  int64_t rank_;
  std::mt19937_64 rng_;
  std::vector<Adapted> adapted_;
};

}  // namespace

std::unique_ptr<Masking> lora_masking(int64_t rank, uint64_t seed) {
  return std::make_unique<LoraMasking>(rank, seed);
}

}  // namespace prune
