#include "libprune/model/calibrated/reconstruction.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include <prune/error.h>
#include <prune/matrix.h>

#include "libprune/model/decoder/backward.h"
#include "libprune/model/decoder/forward.h"
#include "libprune/model/decoder/memory.h"
#include "libprune/model/parallel.h"
#include "libprune/model/shuffle.h"
#include "libprune/model/teams.h"
#include "libprune/model/train/adam.h"

namespace prune {
namespace {

constexpr int64_t kTestSequences = 8;  // that tell whether training helped
constexpr double kSecondDecay = 0.95;  // of Adam's squares: runs are short

// The linear layers' products in a precision, with weights that may be rounded, while it lives.
class PrecisionOfLinears {
 public:
  PrecisionOfLinears(std::span<const ReconstructedLayer> layers, Precision precision) {
    for (const ReconstructedLayer& each : layers) {
      for (Linear* linear : each.layer.linears()) before_.emplace_back(linear, linear->precision);
    }
    for (const auto& [linear, before] : before_) linear->precision = precision;
  }
  ~PrecisionOfLinears() {
    for (const auto& [linear, before] : before_) {
      linear->precision = before;
      linear->rounded = {};
    }
  }
  PrecisionOfLinears(const PrecisionOfLinears&) = delete;
  PrecisionOfLinears& operator=(const PrecisionOfLinears&) = delete;

 private:
  std::vector<std::pair<Linear*, Precision>> before_;
};

bool is_trained(const ReconstructedLayer& trained, const Parameter& parameter,
                const ReconstructionOptions& options) {
  const DecoderLayer& layer = trained.layer;
  const float* values = parameter.values.data();
  if (values == layer.router.weight.data()) return false;
  for (const Norm* norm : {&layer.attention_norm, &layer.q_norm, &layer.k_norm, &layer.feed_forward_norm}) {
    if (values == norm->weight.data() || values == norm->bias.data()) return options.trains_norms;
  }
  const std::vector<const Linear*> linears = layer.linears();
  for (size_t i = 0; i < linears.size(); ++i) {
    if (values == linears[i]->bias.data()) return options.trains_biases && trained.masks[i].size() > 0;
    if (values == linears[i]->weight.data()) return trained.masks[i].size() > 0;
  }
  return true;
}

struct Loss {
  double error = 0;  // sum |y - t|^2
  double scale = 0;  // sum |t - x|^2

  void add(const Loss& other) {
    error += other.error;
    scale += other.scale;
  }
};

// The layers on the sequences of one team of threads: what it writes is its own.
class LayersPass {
 public:
  LayersPass(std::span<const ReconstructedLayer> layers, const RopeTable& rope,
             const ReconstructionData& data, const ReconstructionOptions& options)
      : rope_(rope), data_(data) {
    for (const ReconstructedLayer& each : layers) stages_.emplace_back(each.layer);
    for (size_t i = 0; i < layers.size(); ++i) {
      for (Parameter& parameter : parameters(layers[i].layer, stages_[i].gradients)) {
        if (is_trained(layers[i], parameter, options)) trained_.push_back(std::move(parameter));
      }
    }
  }

  // With the gradients of this pass.
  std::vector<Parameter>& trained() { return trained_; }
  LayerGradients& gradients(size_t layer) { return stages_[layer].gradients; }

  // The layers' outputs y, and from them y - t: the gradient of half of the error.
  Loss forward(std::span<const int64_t> sequences) {
    read(sequences);
    const float* x = x_.data();
    for (Stage& stage : stages_) {
      stage.outputs.resize(x_.rows(), x_.cols());
      forward_layer(stage.layer, rope_, batch(), x, stage.outputs.data(), stage.activations);
      x = stage.outputs.data();
    }
    return take_difference();
  }

  // Of `factor` times half of the error.
  void backward(float factor) {
    FloatMatrix& difference = stages_.back().outputs;
#pragma omp parallel for
    for (int64_t i = 0; i < difference.size(); ++i) difference.data()[i] *= factor;
    for (size_t i = stages_.size(); i-- > 0;) {
      Stage& stage = stages_[i];
      const bool is_first = i == 0;
      const float* x = is_first ? x_.data() : stages_[i - 1].outputs.data();
      if (!is_first) slope_.resize(x_.rows(), x_.cols());
      stage.gradients.restart();
      backward_layer(stage.layer, rope_, batch(), x, stage.activations, stage.outputs.data(),
                     is_first ? nullptr : slope_.data(), buffers_, stage.gradients);
      if (!is_first) std::swap(stages_[i - 1].outputs, slope_);
    }
  }

 private:
  struct Stage {
    explicit Stage(DecoderLayer& trained) : layer(trained), gradients(trained) {}

    DecoderLayer& layer;
    LayerGradients gradients;
    LayerActivations activations;
    FloatMatrix outputs;
  };

  Sequences batch() const { return {x_.rows() / data_.length, data_.length}; }

  void read(std::span<const int64_t> sequences) {
    const int64_t rows = int64_t(sequences.size()) * data_.length, width = stages_[0].layer.config->width;
    x_.resize(rows, width);
    target_.resize(rows, width);
    for (size_t i = 0; i < sequences.size(); ++i) {
      const int64_t row = int64_t(i) * data_.length;
      data_.read(sequences[i], x_.row(row), target_.row(row));
    }
  }

  Loss take_difference() {
    double error = 0, scale = 0;
    FloatMatrix& outputs = stages_.back().outputs;
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
    return {error, scale};
  }

  const RopeTable& rope_;
  const ReconstructionData& data_;
  std::vector<Stage> stages_;
  std::vector<Parameter> trained_;
  FloatMatrix x_, target_, slope_;
  BackwardBuffers buffers_;
};

uint64_t gradient_bytes(std::span<const ReconstructedLayer> layers) {
  uint64_t bytes = 0;
  for (const ReconstructedLayer& each : layers) bytes += layer_bytes(*each.layer.config);
  return bytes;
}

class Reconstruction {
 public:
  Reconstruction(std::span<const ReconstructedLayer> layers, const RopeTable& rope,
                 const ReconstructionData& data, const ReconstructionOptions& options)
      : precision_(layers, options.precision),
        layers_(layers),
        data_(data),
        options_(options),
        teams_(std::min(options.batch, data.count), gradient_bytes(layers)),
        adam_({.beta2 = kSecondDecay}),
        shuffle_(data.count, options.seed) {
    options_.batch = std::min(options_.batch, data.count);
    passes_.reserve(size_t(teams_.count()));  // parameters point into them
    for (int64_t team = 0; team < teams_.count(); ++team) passes_.emplace_back(layers, rope, data, options_);
    for (size_t layer = 0; layer < layers.size(); ++layer) {
      const std::vector<Linear*> linears = layers[layer].layer.linears();
      const std::vector<LinearGradient*> gradients = passes_[0].gradients(layer).linears();
      for (size_t i = 0; i < linears.size(); ++i) {
        round(*linears[i]);
        const Mask& mask = layers[layer].masks[i];
        if (mask.count() < mask.size())
          masked_.push_back({&mask, view(gradients[i]->weight.data(), mask.rows(), mask.cols())});
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
      for (size_t i = 0; i < trained().size(); ++i) std::ranges::copy(start[i], trained()[i].values.begin());
      result.error_after = result.error_before;
    }
    return result;
  }

 private:
  // Their gradients are those of the first team, to which those of the others are added.
  std::vector<Parameter>& trained() { return passes_[0].trained(); }

  // For the products of all passes; from then on Adam does, where it moves the weight.
  void round(Linear& linear) {
    linear.round_weight();
    const auto own = std::ranges::find(trained(), linear.weight.data(),
                                       [](const Parameter& p) { return p.values.data(); });
    if (own != trained().end()) own->rounded = linear.rounded;
  }

  std::vector<std::vector<float>> values() {
    std::vector<std::vector<float>> copies;
    for (const Parameter& p : trained()) copies.emplace_back(p.values.begin(), p.values.end());
    return copies;
  }

  // Each team its share of the sequences, `at_once` of them at a time.
  Loss forward(std::span<const int64_t> sequences, int64_t at_once) {
    std::vector<Loss> losses(size_t(teams_.count()));
    teams_.run([&](int64_t team) {
      const auto count = int64_t(sequences.size()), last = teams_.first(team + 1, count);
      for (int64_t s = teams_.first(team, count); s < last; s += at_once)
        losses[size_t(team)].add(
            passes_[size_t(team)].forward(sequences.subspan(size_t(s), size_t(std::min(at_once, last - s)))));
    });
    Loss sum;
    for (const Loss& loss : losses) sum.add(loss);
    if (!std::isfinite(sum.error)) {
      throw_input("layer " + std::to_string(layers_.back().layer.index) +
                  ": its reconstruction diverged: use a smaller learning rate or fewer steps");
    }
    sum.scale = std::max(sum.scale, 1e-30);
    return sum;
  }

  double test() {
    std::vector<int64_t> sequences(size_t(std::min(kTestSequences, data_.count)));
    std::iota(sequences.begin(), sequences.end(), int64_t(0));
    const Loss loss = forward(sequences, 1);
    return loss.error / loss.scale;
  }

  void train(int64_t step) {
    std::vector<int64_t> sequences(size_t(options_.batch));
    std::ranges::generate(sequences, [&] { return shuffle_.next(); });
    const auto factor = float(2 / forward(sequences, options_.batch).scale);
    teams_.run([&](int64_t team) { passes_[size_t(team)].backward(factor); });
    std::vector<std::span<const Parameter>> others;
    for (size_t team = 1; team < passes_.size(); ++team) others.push_back(passes_[team].trained());
    add_gradients(others, trained());
    apply_masks();
    const double progress = double(step) / double(options_.steps);
    adam_.step(trained(), options_.learning_rate * 0.5 * (1 + std::cos(std::numbers::pi * progress)));
  }

  void apply_masks() {
    parallel_for(masked_.size(), 0, [&](size_t i) { apply(*masked_[i].mask, masked_[i].slope); });
  }

  struct MaskedSlope {
    const Mask* mask;
    View<float> slope;
  };

  PrecisionOfLinears precision_;
  std::span<const ReconstructedLayer> layers_;
  const ReconstructionData& data_;
  ReconstructionOptions options_;
  Teams teams_;
  std::vector<LayersPass> passes_;   // of each team
  std::vector<MaskedSlope> masked_;  // of the first pass, where a mask prunes anything
  Adam adam_;
  Shuffle shuffle_;
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
