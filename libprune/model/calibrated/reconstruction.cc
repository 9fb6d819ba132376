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
constexpr double kSecondDecay = 0.95;  // of Adam's squares: runs are short

// The linear layers' products in a precision, while it lives.
class PrecisionOfLinears {
 public:
  PrecisionOfLinears(std::span<const ReconstructedLayer> layers, Precision precision) {
    for (const ReconstructedLayer& each : layers) {
      for (Linear* linear : each.layer.linears()) before_.emplace_back(linear, linear->precision);
    }
    for (const auto& [linear, before] : before_) linear->precision = precision;
  }
  ~PrecisionOfLinears() {
    for (const auto& [linear, before] : before_) linear->precision = before;
  }
  PrecisionOfLinears(const PrecisionOfLinears&) = delete;
  PrecisionOfLinears& operator=(const PrecisionOfLinears&) = delete;

 private:
  std::vector<std::pair<Linear*, Precision>> before_;
};

// One of the layers that are trained, with what its passes need.
struct TrainedLayer {
  explicit TrainedLayer(const ReconstructedLayer& trained)
      : layer(trained.layer), masks(trained.masks), gradients(layer) {}

  void apply_masks() {
    const std::vector<LinearGradient*> linears = gradients.linears();
    for (size_t i = 0; i < linears.size(); ++i) {
      if (masks[i].size() == 0) continue;
      FloatMatrix& weight = linears[i]->weight;
      apply(masks[i], view(weight.data(), weight.rows(), weight.cols()));
    }
  }

  bool is_trained(const Parameter& parameter, const ReconstructionOptions& options) const {
    const float* values = parameter.values.data();
    if (values == layer.router.weight.data()) return false;
    for (const Norm* norm : {&layer.attention_norm, &layer.q_norm, &layer.k_norm, &layer.feed_forward_norm}) {
      if (values == norm->weight.data() || values == norm->bias.data()) return options.trains_norms;
    }
    const std::vector<Linear*> linears = layer.linears();
    for (size_t i = 0; i < linears.size(); ++i) {
      if (values == linears[i]->bias.data()) return options.trains_biases && masks[i].size() > 0;
      if (values == linears[i]->weight.data()) return masks[i].size() > 0;
    }
    return true;
  }

  DecoderLayer& layer;
  std::span<const Mask> masks;
  LayerGradients gradients;
  LayerActivations activations;
  FloatMatrix outputs;
};

class Reconstruction {
 public:
  Reconstruction(std::span<const ReconstructedLayer> layers, const RopeTable& rope,
                 const ReconstructionData& data, const ReconstructionOptions& options)
      : precision_(layers, options.precision),
        layers_(layers.begin(), layers.end()),
        rope_(rope),
        data_(data),
        options_(options),
        adam_({.beta2 = kSecondDecay}),
        shuffle_(data.count, options.seed) {
    options_.batch = std::min(options_.batch, data.count);
    for (TrainedLayer& each : layers_) {
      for (Parameter& parameter : parameters(each.layer, each.gradients)) {
        if (each.is_trained(parameter, options_)) trained_.push_back(std::move(parameter));
      }
    }
  }

  ReconstructionResult run(const std::function<void(int64_t)>& progress) {
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
  std::vector<std::vector<float>> values() const {
    std::vector<std::vector<float>> copies;
    for (const Parameter& p : trained_) copies.emplace_back(p.values.begin(), p.values.end());
    return copies;
  }

  // Fills x_ and target_ with `count` sequences.
  template <class Next>
  void read(int64_t count, Next next) {
    const int64_t width = layers_[0].layer.config->width;
    x_.resize(count * data_.length, width);
    target_.resize(count * data_.length, width);
    for (int64_t i = 0; i < count; ++i)
      data_.read(next(), x_.row(i * data_.length), target_.row(i * data_.length));
  }

  FloatMatrix& outputs() { return layers_.back().outputs; }

  void forward() {
    const Sequences sequences(x_.rows() / data_.length, data_.length);
    const float* x = x_.data();
    for (TrainedLayer& each : layers_) {
      each.outputs.resize(x_.rows(), x_.cols());
      forward_layer(each.layer, rope_, sequences, x, each.outputs.data(), each.activations);
      x = each.outputs.data();
    }
  }

  // From the gradient of the last layer's outputs, which lies in their place.
  void backward() {
    const Sequences sequences(x_.rows() / data_.length, data_.length);
    for (size_t i = layers_.size(); i-- > 0;) {
      TrainedLayer& each = layers_[i];
      const bool is_first = i == 0;
      const float* x = is_first ? x_.data() : layers_[i - 1].outputs.data();
      if (!is_first) slope_.resize(x_.rows(), x_.cols());
      each.gradients.restart();
      backward_layer(each.layer, rope_, sequences, x, each.activations, each.outputs.data(),
                     is_first ? nullptr : slope_.data(), buffers_, each.gradients);
      each.apply_masks();
      if (!is_first) std::swap(layers_[i - 1].outputs, slope_);
    }
  }

  struct Loss {
    double error = 0;  // sum |y - t|^2
    double scale = 0;  // sum |t - x|^2
  };

  // Also turns the outputs y into the gradient of the sum of squares, halved: y - t.
  Loss take_difference() {
    double error = 0, scale = 0;
    FloatMatrix& outputs = this->outputs();
#pragma omp parallel for reduction(+ : error, scale) schedule(static)
    for (int64_t i = 0; i < outputs.rows(); ++i) {
      float *y = outputs.row(i), row_error = 0, row_scale = 0;
      const float *t = target_.row(i), *x = x_.row(i);
#pragma omp simd reduction(+ : row_error, row_scale)
      for (int64_t c = 0; c < outputs.cols(); ++c) {
        y[c] -= t[c];
        row_error += y[c] * y[c];
        row_scale += (t[c] - x[c]) * (t[c] - x[c]);
      }
      error += double(row_error);
      scale += double(row_scale);
    }
    if (!std::isfinite(error)) {
      throw_input("layer " + std::to_string(layers_.back().layer.index) +
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
    FloatMatrix& slope = outputs();
#pragma omp parallel for
    for (int64_t i = 0; i < slope.size(); ++i) slope.data()[i] *= factor;
    backward();
    const double progress = double(step) / double(options_.steps);
    adam_.step(trained_, options_.learning_rate * 0.5 * (1 + std::cos(std::numbers::pi * progress)));
  }

  PrecisionOfLinears precision_;
  std::vector<TrainedLayer> layers_;
  const RopeTable& rope_;
  const ReconstructionData& data_;
  ReconstructionOptions options_;
  std::vector<Parameter> trained_;
  Adam adam_;
  Shuffle shuffle_;
  FloatMatrix x_, target_, slope_;
  BackwardBuffers buffers_;
};

void check(const ReconstructedLayer& trained) {
  const std::vector<Linear*> linears = trained.layer.linears();
  bool fits = trained.masks.size() == linears.size();
  for (size_t i = 0; fits && i < linears.size(); ++i) {
    const Mask& mask = trained.masks[i];
    fits = mask.size() == 0 || (mask.rows() == linears[i]->out && mask.cols() == linears[i]->in);
  }
  if (!fits) throw_usage("reconstruct_layers: one mask of its own shape for each linear layer");
}

}  // namespace

ReconstructionResult reconstruct_layers(std::span<const ReconstructedLayer> layers, const RopeTable& rope,
                                        const ReconstructionData& data, const ReconstructionOptions& options,
                                        const std::function<void(int64_t)>& progress) {
  if (layers.empty() || data.count < 1 || data.length < 1)
    throw_usage("reconstruct_layers: no layer, or no calibration sequences");
  for (const ReconstructedLayer& each : layers) check(each);
  return Reconstruction(layers, rope, data, options).run(progress);
}

}  // namespace prune
