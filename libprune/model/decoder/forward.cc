#include "libprune/model/decoder/forward.h"

#include <algorithm>

#include "libprune/model/decoder/router.h"

namespace prune {
namespace {

// Y [n, sum of outputs]: the linears' outputs side by side.
void project(std::span<const Linear> linears, const FloatMatrix& x, FloatMatrix& y,
             const InputObserver& observer) {
  if (observer) observer(linears, x.data(), x.rows());
  int64_t width = 0;
  for (const Linear& linear : linears) width += linear.out;
  y.resize(x.rows(), width);
  thread_local Bf16Memory memory;
  const Linear& first = linears.front();
  const GemmOperand shared =
      first.product ? GemmOperand{x.data(), x.cols()}
                    : gemm_operand(x.data(), x.cols(), x.rows(), x.cols(), first.precision, memory);
  int64_t column = 0;
  for (const Linear& linear : linears) {
    if (linear.product) {
      linear.forward(x.data(), x.cols(), y.data() + column, width, x.rows());
    } else {
      linear.forward(shared, y.data() + column, width, x.rows());
    }
    column += linear.out;
  }
}

void norm_or_copy(const Norm* norm, const float* x, int64_t n, int64_t width, FloatMatrix& y) {
  y.resize(n, width);
  if (norm != nullptr) {
    norm->apply(x, y.data(), n);
  } else {
    std::copy(x, x + n * width, y.data());
  }
}

void add(const float* x, FloatMatrix& y) {
#pragma omp parallel for if (y.rows() > 1)
  for (int64_t i = 0; i < y.rows(); ++i) {
    const float* from = x + i * y.cols();
    float* to = y.row(i);
    for (int64_t c = 0; c < y.cols(); ++c) to[c] += from[c];
  }
}

void copy(const FloatMatrix& from, float* to) {
#pragma omp parallel for if (from.rows() > 1)
  for (int64_t i = 0; i < from.rows(); ++i)
    std::copy(from.row(i), from.row(i) + from.cols(), to + i * from.cols());
}

// Norms of heads and rotation, in place.
void place_heads(const DecoderLayer& layer, const RopeTable& rope, const Sequences& sequences,
                 FloatMatrix& qkv) {
  const DecoderConfig& config = *layer.config;
  for (int64_t s = 0; s < sequences.count(); ++s) {
#pragma omp parallel for if (sequences.length(s) > 1)
    for (int64_t p = 0; p < sequences.length(s); ++p) {
      float* row = qkv.row(sequences.begin(s) + p);
      for (int64_t h = 0; h < config.heads + config.kv_heads; ++h) {
        float* head = row + h * config.head_dim;
        const Norm& norm = h < config.heads ? layer.q_norm : layer.k_norm;
        if (norm.exists()) norm.apply(head, head);
        if (rope.half() > 0) rope.rotate(head, p);
      }
    }
  }
}

void forward_expert(const DecoderConfig& config, const FeedForward& expert, const FloatMatrix& input,
                    FeedForwardActivations& activations, const InputObserver& observer) {
  project(expert.expanding, input, activations.expanded, observer);
  activate(config.activation, config.family->is_gated, activations.expanded, config.inner, activations.inner);
  project({&expert.contracting, 1}, activations.inner, activations.output, observer);
}

}  // namespace

void forward_qkv(const DecoderLayer& layer, const RopeTable& rope, const Sequences& sequences, const float* x,
                 LayerActivations& activations, const InputObserver& observer) {
  const DecoderConfig& config = *layer.config;
  norm_or_copy(config.norms_after ? nullptr : &layer.attention_norm, x, sequences.tokens(), config.width,
               activations.attention_input);
  project(layer.qkv, activations.attention_input, activations.qkv, observer);
  if (layer.q_norm.exists()) activations.qkv_plain = activations.qkv;
  if (layer.q_norm.exists() || rope.half() > 0) place_heads(layer, rope, sequences, activations.qkv);
}

void forward_attention(const DecoderLayer& layer, const Sequences& sequences, const float* x,
                       LayerActivations& activations, const InputObserver& observer) {
  const DecoderConfig& config = *layer.config;
  activations.context.resize(sequences.tokens(), config.context_width());
  attend(layer.attention_shape(), sequences, activations.qkv.data(), activations.context.data());
  forward_attention_output(layer, x, activations, observer);
}

void forward_attention_output(const DecoderLayer& layer, const float* x, LayerActivations& activations,
                              const InputObserver& observer) {
  const DecoderConfig& config = *layer.config;
  LayerActivations& a = activations;
  FloatMatrix& sum = config.norms_after ? a.attention_sum : a.middle;
  project({&layer.output, 1}, a.context, sum, observer);
  add(x, sum);
  if (config.norms_after) norm_or_copy(&layer.attention_norm, sum.data(), sum.rows(), sum.cols(), a.middle);
}

void forward_feed_forward(const DecoderLayer& layer, LayerActivations& activations, float* y,
                          const InputObserver& observer) {
  const DecoderConfig& config = *layer.config;
  LayerActivations& a = activations;
  a.experts.resize(layer.experts.size());
  norm_or_copy(config.norms_after ? nullptr : &layer.feed_forward_norm, a.middle.data(), a.middle.rows(),
               config.width, a.feed_forward_input);
  FloatMatrix& sum = a.feed_forward_sum;
  if (config.has_experts()) {
    route(config, layer.router, a.feed_forward_input, a.router_shares, a.experts);
    sum = a.middle;
    for (size_t e = 0; e < layer.experts.size(); ++e) {
      forward_expert(config, layer.experts[e], a.experts[e].input, a.experts[e], observer);
      add_expert(a.experts[e], sum);
    }
  } else {
    forward_expert(config, layer.experts[0], a.feed_forward_input, a.experts[0], observer);
    std::swap(sum, a.experts[0].output);
    add(a.middle.data(), sum);
  }
  if (config.norms_after) {
    layer.feed_forward_norm.apply(sum.data(), y, sum.rows());
  } else {
    copy(sum, y);
  }
}

void forward_layer(const DecoderLayer& layer, const RopeTable& rope, const Sequences& sequences,
                   const float* x, float* y, LayerActivations& activations, const InputObserver& observer) {
  forward_qkv(layer, rope, sequences, x, activations, observer);
  forward_attention(layer, sequences, x, activations, observer);
  forward_feed_forward(layer, activations, y, observer);
}

}  // namespace prune
