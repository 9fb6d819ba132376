#include "libprune/model/decoder/gradients.h"

#include <algorithm>
#include <string_view>

namespace prune {
namespace {

LinearGradient gradient_of(const Linear& linear) {
  LinearGradient gradient{FloatMatrix(linear.weight.rows(), linear.weight.cols()), linear.bias};
  return gradient;
}

NormGradient gradient_of(const Norm& norm) { return {norm.weight, norm.bias}; }

std::vector<LinearGradient> gradients_of(const std::vector<Linear>& linears) {
  std::vector<LinearGradient> gradients;
  gradients.reserve(linears.size());
  for (const Linear& linear : linears) gradients.push_back(gradient_of(linear));
  return gradients;
}

// A layer and its gradients side by side.
class Pairing {
 public:
  Pairing(DecoderLayer& layer, LayerGradients& gradients) {
    add(layer.attention_norm, gradients.attention_norm);
    add(layer.qkv, gradients.qkv);
    add(layer.q_norm, gradients.q_norm);
    add(layer.k_norm, gradients.k_norm);
    add(layer.output, gradients.output);
    add(layer.feed_forward_norm, gradients.feed_forward_norm);
    add(layer.router, gradients.router);
    for (size_t e = 0; e < layer.experts.size(); ++e) {
      add(layer.experts[e].expanding, gradients.experts[e].expanding);
      add(layer.experts[e].contracting, gradients.experts[e].contracting);
    }
  }

  std::vector<Parameter> take() { return std::move(list_); }

 private:
  void add(Norm& norm, NormGradient& gradient) {
    add(norm.weight_name, norm.weight, gradient.weight);
    add(bias_name(norm.weight_name), norm.bias, gradient.bias);
  }
  void add(Linear& linear, LinearGradient& gradient) {
    const auto size = static_cast<size_t>(linear.weight.size());
    add(linear.weight_name, {linear.weight.data(), size}, {gradient.weight.data(), size});
    add(bias_name(linear.weight_name), linear.bias, gradient.bias);
  }
  void add(std::vector<Linear>& linears, std::vector<LinearGradient>& gradients) {
    for (size_t i = 0; i < linears.size(); ++i) add(linears[i], gradients[i]);
  }
  void add(std::string name, std::span<float> values, std::span<float> gradient) {
    if (!values.empty()) list_.push_back({std::move(name), values, gradient});
  }

  std::vector<Parameter> list_;
};

void clear(LinearGradient& gradient) {
  std::fill_n(gradient.weight.data(), gradient.weight.size(), 0.0F);
  gradient.is_stale = false;
  std::ranges::fill(gradient.bias, 0.0F);
}

void clear(NormGradient& gradient) {
  std::ranges::fill(gradient.weight, 0.0F);
  std::ranges::fill(gradient.bias, 0.0F);
}

}  // namespace

LayerGradients::LayerGradients(const DecoderLayer& layer)
    : attention_norm(gradient_of(layer.attention_norm)),
      q_norm(gradient_of(layer.q_norm)),
      k_norm(gradient_of(layer.k_norm)),
      feed_forward_norm(gradient_of(layer.feed_forward_norm)),
      qkv(gradients_of(layer.qkv)),
      output(gradient_of(layer.output)),
      router(gradient_of(layer.router)) {
  for (const FeedForward& expert : layer.experts)
    experts.push_back({gradients_of(expert.expanding), gradient_of(expert.contracting)});
  clear();
}

void LayerGradients::clear() {
  restart();
  for (LinearGradient* linear : linears()) prune::clear(*linear);
}

void LayerGradients::restart() {
  for (NormGradient* norm : {&attention_norm, &q_norm, &k_norm, &feed_forward_norm}) prune::clear(*norm);
  for (LinearGradient* linear : linears()) {
    std::ranges::fill(linear->bias, 0.0F);
    linear->is_stale = true;
  }
  prune::clear(router);
}

std::vector<LinearGradient*> LayerGradients::linears() {
  std::vector<LinearGradient*> list;
  for (LinearGradient& linear : qkv) list.push_back(&linear);
  list.push_back(&output);
  for (FeedForwardGradient& expert : experts) {
    for (LinearGradient& linear : expert.expanding) list.push_back(&linear);
    list.push_back(&expert.contracting);
  }
  return list;
}

void add_gradients(std::span<const std::span<const Parameter>> others, std::span<const Parameter> sums) {
  constexpr int64_t kChunk = 4096;  // stays in the first-level cache for all of them
  if (others.empty()) return;
  for (size_t p = 0; p < sums.size(); ++p) {
    const auto n = static_cast<int64_t>(sums[p].gradient.size());
#pragma omp parallel for schedule(static)
    for (int64_t first = 0; first < n; first += kChunk) {
      const int64_t last = std::min(first + kChunk, n);
      float* sum = sums[p].gradient.data();
      for (const std::span<const Parameter> other : others) {
        const float* own = other[p].gradient.data();
        for (int64_t i = first; i < last; ++i) sum[i] += own[i];
      }
    }
  }
}

std::string bias_name(const std::string& weight_name) {
  constexpr std::string_view kWeight = "weight";
  const bool has_suffix = weight_name.ends_with(kWeight);
  return weight_name.substr(0, weight_name.size() - (has_suffix ? kWeight.size() : 0)) + "bias";
}

std::vector<Parameter> parameters(DecoderLayer& layer, LayerGradients& gradients) {
  return Pairing(layer, gradients).take();
}

}  // namespace prune
