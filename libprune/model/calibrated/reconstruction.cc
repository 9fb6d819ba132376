#include "libprune/model/calibrated/reconstruction.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>
#include <utility>
#include <vector>

#include <prune/error.h>
#include <prune/matrix.h>

#include "libprune/model/decoder/backward.h"
#include "libprune/model/decoder/forward.h"
#include "libprune/model/shuffle.h"
#include "libprune/model/train/adam.h"

namespace prune {
namespace {

constexpr int64_t kTestSequences = 8;  // that tell whether training helped

// The linear layers' products in a precision, while it lives.
class PrecisionOfLinears {
 public:
  PrecisionOfLinears(DecoderLayer& layer, Precision precision) : linears_(layer.linears()) {
    for (Linear* linear : linears_) {
      before_.push_back(linear->precision);
      linear->precision = precision;
    }
  }
  ~PrecisionOfLinears() {
    for (size_t i = 0; i < linears_.size(); ++i) linears_[i]->precision = before_[i];
  }
  PrecisionOfLinears(const PrecisionOfLinears&) = delete;
  PrecisionOfLinears& operator=(const PrecisionOfLinears&) = delete;

 private:
  std::vector<Linear*> linears_;
  std::vector<Precision> before_;
};

class Reconstruction {
 public:
  Reconstruction(DecoderLayer& layer, std::span<const Mask> masks, const RopeTable& rope,
                 const ReconstructionData& data, const ReconstructionOptions& options)
      : layer_(layer),
        masks_(masks),
        rope_(rope),
        data_(data),
        options_(options),
        gradients_(layer),
        shuffle_(data.count, options.seed) {
    options_.batch = std::min(options_.batch, data.count);
    for (Parameter& parameter : parameters(layer_, gradients_)) {
      if (is_trained(parameter)) trained_.push_back(std::move(parameter));
    }
  }

  ReconstructionResult run(const std::function<void(int64_t)>& progress) {
    const PrecisionOfLinears precision(layer_, options_.precision);
    const std::vector<std::vector<float>> start = values();
    ReconstructionResult result{.error_before = test(), .steps = options_.steps};
    for (int64_t step = 0; step < options_.steps; ++step) {
      train(step);
      if (progress) progress(step + 1);
    }
    result.error_after = test();
    if (!(result.error_after < result.error_before)) {
      for (size_t i = 0; i < trained_.size(); ++i) std::ranges::copy(start[i], trained_[i].values.begin());
      result.error_after = result.error_before;
    }
    return result;
  }

 private:
  bool is_trained(const Parameter& parameter) const {
    const float* values = parameter.values.data();
    if (values == layer_.router.weight.data()) return false;
    for (const Norm* norm :
         {&layer_.attention_norm, &layer_.q_norm, &layer_.k_norm, &layer_.feed_forward_norm}) {
      if (values == norm->weight.data() || values == norm->bias.data()) return options_.trains_norms;
    }
    const std::vector<Linear*> linears = layer_.linears();
    for (size_t i = 0; i < linears.size(); ++i) {
      if (values == linears[i]->bias.data()) return options_.trains_biases && masks_[i].size() > 0;
      if (values == linears[i]->weight.data()) return masks_[i].size() > 0;
    }
    return true;
  }

  std::vector<std::vector<float>> values() const {
    std::vector<std::vector<float>> copies;
    for (const Parameter& p : trained_) copies.emplace_back(p.values.begin(), p.values.end());
    return copies;
  }

  // Fills x_ and target_ with `count` sequences.
  template <class Next>
  void read(int64_t count, Next next) {
    const int64_t width = layer_.config->width;
    x_.resize(count * data_.length, width);
    target_.resize(count * data_.length, width);
    for (int64_t i = 0; i < count; ++i)
      data_.read(next(), x_.row(i * data_.length), target_.row(i * data_.length));
  }

  void forward() {
    y_.resize(x_.rows(), x_.cols());
    forward_layer(layer_, rope_, Sequences(x_.rows() / data_.length, data_.length), x_.data(), y_.data(),
                  activations_);
  }

  struct Loss {
    double error = 0;  // sum |y - t|^2
    double scale = 0;  // sum |t - x|^2
  };

  // Also turns y_ into the gradient of the sum of squares, halved: y - t.
  Loss take_difference() {
    double error = 0, scale = 0;
#pragma omp parallel for reduction(+ : error, scale) schedule(static)
    for (int64_t i = 0; i < y_.rows(); ++i) {
      float *y = y_.row(i), row_error = 0, row_scale = 0;
      const float *t = target_.row(i), *x = x_.row(i);
#pragma omp simd reduction(+ : row_error, row_scale)
      for (int64_t c = 0; c < y_.cols(); ++c) {
        y[c] -= t[c];
        row_error += y[c] * y[c];
        row_scale += (t[c] - x[c]) * (t[c] - x[c]);
      }
      error += double(row_error);
      scale += double(row_scale);
    }
    if (!std::isfinite(error)) {
      throw_input("layer " + std::to_string(layer_.index) +
                  ": its reconstruction diverged: use a smaller learning rate or fewer steps");
    }
    return {error, std::max(scale, 1e-30)};
  }

  double test() {
    Loss sum;
    for (int64_t s = 0; s < std::min(kTestSequences, data_.count); ++s) {
      read(1, [&] { return s; });
      forward();
      const Loss loss = take_difference();
      sum.error += loss.error;
      sum.scale += loss.scale;
    }
    return sum.error / sum.scale;
  }

  void train(int64_t step) {
    read(options_.batch, [&] { return shuffle_.next(); });
    forward();
    const auto factor = float(2 / take_difference().scale);
#pragma omp parallel for
    for (int64_t i = 0; i < y_.size(); ++i) y_.data()[i] *= factor;
    gradients_.clear();
    backward_layer(layer_, rope_, Sequences(options_.batch, data_.length), x_.data(), activations_, y_.data(),
                   nullptr, buffers_, gradients_);
    apply_masks();
    const double progress = double(step) / double(options_.steps);
    adam_.step(trained_, options_.learning_rate * 0.5 * (1 + std::cos(std::numbers::pi * progress)));
  }

  void apply_masks() {
    const std::vector<LinearGradient*> linears = gradients_.linears();
    for (size_t i = 0; i < linears.size(); ++i) {
      if (masks_[i].size() == 0) continue;
      FloatMatrix& weight = linears[i]->weight;
      apply(masks_[i], view(weight.data(), weight.rows(), weight.cols()));
    }
  }

  DecoderLayer& layer_;
  std::span<const Mask> masks_;
  const RopeTable& rope_;
  const ReconstructionData& data_;
  ReconstructionOptions options_;
  LayerGradients gradients_;
  std::vector<Parameter> trained_;
  Adam adam_;
  Shuffle shuffle_;
  FloatMatrix x_, target_, y_;
  LayerActivations activations_;
  BackwardBuffers buffers_;
};

void check(const DecoderLayer& layer, std::span<const Mask> masks, const ReconstructionData& data) {
  const std::vector<const Linear*> linears = layer.linears();
  bool fits = masks.size() == linears.size();
  for (size_t i = 0; fits && i < masks.size(); ++i)
    fits = masks[i].size() == 0 || (masks[i].rows() == linears[i]->out && masks[i].cols() == linears[i]->in);
  if (!fits) throw_usage("reconstruct_layer: one mask of its own shape for each linear layer");
  if (data.count < 1 || data.length < 1) throw_usage("reconstruct_layer: no calibration sequences");
}

}  // namespace

ReconstructionResult reconstruct_layer(DecoderLayer& layer, std::span<const Mask> masks,
                                       const RopeTable& rope, const ReconstructionData& data,
                                       const ReconstructionOptions& options,
                                       const std::function<void(int64_t)>& progress) {
  check(layer, masks, data);
  return Reconstruction(layer, masks, rope, data, options).run(progress);
}

}  // namespace prune
