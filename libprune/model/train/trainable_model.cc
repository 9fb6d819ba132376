#include "libprune/model/train/trainable_model.h"

#include <algorithm>

namespace prune {
namespace {

FloatMatrix zeros_like(const FloatMatrix& matrix) {
  FloatMatrix zeros(matrix.rows(), matrix.cols());
  std::fill_n(zeros.data(), zeros.size(), 0.0F);
  return zeros;
}

void clear_matrix(FloatMatrix& matrix) { std::fill_n(matrix.data(), matrix.size(), 0.0F); }

Parameter parameter_of(NamedMatrix& named, FloatMatrix& gradient) {
  const auto size = static_cast<size_t>(named.matrix.size());
  return {named.name, {named.matrix.data(), size}, {gradient.data(), size}};
}

}  // namespace

TrainableModel::TrainableModel(const Decoder& decoder) : config_(&decoder.config()) {
  embedding = {decoder.embedding_name(), FloatMatrix(config_->vocabulary, config_->width)};
  decoder.load_embedding_rows(0, config_->vocabulary, embedding.matrix.data());
  if (config_->family->positions == PositionKind::kLearned)
    positions = {decoder.positions_name(), decoder.load_positions()};
  for (int64_t i = 0; i < config_->layers; ++i) layers.push_back(decoder.load_layer(i));
  final_norm = decoder.load_final_norm();
  if (decoder.head_name() != embedding.name) {
    head = {decoder.head_name(), FloatMatrix(config_->vocabulary, config_->width)};
    decoder.load_head_rows(0, config_->vocabulary, head.matrix.data());
  }
}

void TrainableModel::round_weights() {
  for (DecoderLayer& layer : layers) {
    for (Linear* linear : layer.linears()) linear->round_weight();
  }
}

void TrainableModel::forget_rounded() {
  for (DecoderLayer& layer : layers) {
    for (Linear* linear : layer.linears()) linear->rounded = {};
  }
}

void TrainableModel::refresh_masked() {
  for (DecoderLayer& layer : layers) {
    for (Linear* linear : layer.linears()) linear->refresh_masked();
  }
}

void TrainableModel::forget_masked() {
  for (DecoderLayer& layer : layers) {
    for (Linear* linear : layer.linears()) linear->masked = nullptr;
  }
}

ModelGradients::ModelGradients(const TrainableModel& model)
    : embedding(zeros_like(model.embedding.matrix)),
      positions(zeros_like(model.positions.matrix)),
      head(zeros_like(model.head.matrix)),
      final_norm{model.final_norm.weight, model.final_norm.bias} {
  for (const DecoderLayer& layer : model.layers) layers.emplace_back(layer);
  restart();
}

void ModelGradients::restart() {
  for (FloatMatrix* matrix : {&embedding, &positions, &head}) clear_matrix(*matrix);
  for (LayerGradients& layer : layers) layer.restart();
  std::ranges::fill(final_norm.weight, 0.0F);
  std::ranges::fill(final_norm.bias, 0.0F);
}

std::vector<Parameter> parameters(TrainableModel& model, ModelGradients& gradients) {
  std::vector<Parameter> list;
  for (size_t i = 0; i < model.layers.size(); ++i) {
    for (Parameter& parameter : parameters(model.layers[i], gradients.layers[i])) {
      if (parameter.values.data() != model.layers[i].router.weight.data())
        list.push_back(std::move(parameter));
    }
  }
  if (model.final_norm.exists()) {
    list.push_back({model.final_norm.weight_name, model.final_norm.weight, gradients.final_norm.weight});
    if (!model.final_norm.bias.empty())
      list.push_back(
          {bias_name(model.final_norm.weight_name), model.final_norm.bias, gradients.final_norm.bias});
  }
  list.push_back(parameter_of(model.embedding, gradients.embedding));
  if (!model.positions.matrix.empty()) list.push_back(parameter_of(model.positions, gradients.positions));
  if (!model.head.matrix.empty()) list.push_back(parameter_of(model.head, gradients.head));
  return list;
}

}  // namespace prune
