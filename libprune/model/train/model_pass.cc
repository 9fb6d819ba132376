#include "libprune/model/train/model_pass.h"

#include <algorithm>

#include <prune/error.h>

namespace prune {
namespace {

// Row of the table of learned positions for token `t`.
int64_t position_row(const DecoderConfig& config, const Sequences& sequences, int64_t t) {
  return sequences.position(t) + config.family->position_offset;
}

void embed(const TrainableModel& model, const TokenBatch& batch, FloatMatrix& hidden) {
  const DecoderConfig& config = model.config();
  hidden.resize(batch.sequences.tokens(), config.width);
#pragma omp parallel for
  for (int64_t t = 0; t < hidden.rows(); ++t) {
    const float* from = model.embedding.matrix.row(batch.ids[size_t(t)]);
    float* to = hidden.row(t);
    for (int64_t c = 0; c < config.width; ++c) to[c] = from[c] * config.embedding_scale;
    if (model.positions.matrix.empty()) continue;
    const float* position = model.positions.matrix.row(position_row(config, batch.sequences, t));
    for (int64_t c = 0; c < config.width; ++c) to[c] += position[c];
  }
}

// Tokens repeat, so one thread adds their rows.
void embed_backward(const TrainableModel& model, const TokenBatch& batch, const FloatMatrix& dhidden,
                    ModelGradients& gradients) {
  const DecoderConfig& config = model.config();
  for (int64_t t = 0; t < dhidden.rows(); ++t) {
    const float* from = dhidden.row(t);
    float* to = gradients.embedding.row(batch.ids[size_t(t)]);
    for (int64_t c = 0; c < config.width; ++c) to[c] += from[c] * config.embedding_scale;
    if (gradients.positions.empty()) continue;
    float* position = gradients.positions.row(position_row(config, batch.sequences, t));
    for (int64_t c = 0; c < config.width; ++c) position[c] += from[c];
  }
}

// Adds the gradient of factor |h - t|^2 to dh, and returns its value.
double add_hidden_loss(const FloatMatrix& h, const FloatMatrix& t, double factor, FloatMatrix& dh) {
  double squares = 0;
  const auto slope = float(2 * factor);
#pragma omp parallel for reduction(+ : squares) schedule(static)
  for (int64_t i = 0; i < h.rows(); ++i) {
    const float *a = h.row(i), *b = t.row(i);
    float *to = dh.row(i), sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t c = 0; c < h.cols(); ++c) {
      const float difference = a[c] - b[c];
      to[c] += slope * difference;
      sum += difference * difference;
    }
    squares += double(sum);
  }
  return factor * squares;
}

double squares_of(const FloatMatrix& x) {
  double squares = 0;
#pragma omp parallel for reduction(+ : squares) schedule(static)
  for (int64_t i = 0; i < x.rows(); ++i) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t c = 0; c < x.cols(); ++c) sum += x.row(i)[c] * x.row(i)[c];
    squares += double(sum);
  }
  return squares;
}

void check_ids(const TrainableModel& model, const TokenBatch& batch) {
  for (const int32_t id : batch.ids) {
    if (id < 0 || id >= model.config().vocabulary)
      throw_input("token id " + std::to_string(id) + " is outside the model's vocabulary of " +
                  std::to_string(model.config().vocabulary));
  }
}

}  // namespace

void forward_model(const TrainableModel& model, const RopeTable& rope, const TokenBatch& batch,
                   ModelActivations& activations) {
  check_ids(model, batch);
  const size_t layers = model.layers.size();
  activations.hidden.resize(layers + 1);
  activations.layers.resize(activations.keeps_layers ? layers : 1);
  embed(model, batch, activations.hidden[0]);
  for (size_t i = 0; i < layers; ++i) {
    FloatMatrix& output = activations.hidden[i + 1];
    output.resize(batch.sequences.tokens(), model.config().width);
    forward_layer(model.layers[i], rope, batch.sequences, activations.hidden[i].data(), output.data(),
                  activations.layers[activations.keeps_layers ? i : 0]);
  }
  activations.normed = activations.hidden.back();
  if (model.final_norm.exists()) {
    float* normed = activations.normed.data();
    model.final_norm.apply(normed, normed, activations.normed.rows());
  }
}

std::vector<double> hidden_scales_of(const ModelActivations& teacher) {
  std::vector<double> scales;
  for (size_t i = 1; i < teacher.hidden.size(); ++i) scales.push_back(squares_of(teacher.hidden[i]));
  return scales;
}

double backward_model(const TrainableModel& model, const RopeTable& rope, const TokenBatch& batch,
                      ModelActivations& activations, const FloatMatrix& dnormed, const HiddenTarget& target,
                      BackwardBuffers& buffers, ModelGradients& gradients) {
  FloatMatrix slope = dnormed, recomputed;
  if (model.final_norm.exists()) {
    norm_backward(model.final_norm, activations.hidden.back().data(), dnormed.data(), slope.data(),
                  slope.rows(), Write::kOver, gradients.final_norm);
  }
  double hidden_loss = 0;
  for (size_t i = model.layers.size(); i-- > 0;) {
    const float* x = activations.hidden[i].data();
    if (target.teacher != nullptr && target.weight > 0) {
      const double factor = target.weight / std::max(target.scales[i], 1e-30);
      hidden_loss += add_hidden_loss(activations.hidden[i + 1], target.teacher->hidden[i + 1], factor, slope);
    }
    LayerActivations& own = activations.layers[activations.keeps_layers ? i : 0];
    const bool is_there = activations.keeps_layers || i + 1 == model.layers.size();
    if (!is_there) {
      recomputed.resize(slope.rows(), slope.cols());
      forward_layer(model.layers[i], rope, batch.sequences, x, recomputed.data(), own);
    }
    backward_layer(model.layers[i], rope, batch.sequences, x, own, slope.data(), slope.data(), buffers,
                   gradients.layers[i]);
  }
  embed_backward(model, batch, slope, gradients);
  return hidden_loss;
}

}  // namespace prune
