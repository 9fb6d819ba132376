// A decoder layer in double precision, straight from the equations: what the forward and backward passes are
// tested against. Shares no code with them but the structures that hold weights.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

#include "libprune/model/decoder/layer.h"
#include "libprune/model/decoder/sequences.h"

namespace prune::testing {

using Row = std::vector<double>;
using Rows = std::vector<Row>;

inline Row reference_norm(const Norm& norm, const Row& x) {
  const double n = double(x.size());
  const bool centres = norm.kind == NormKind::kLayer;
  const double mean = centres ? std::accumulate(x.begin(), x.end(), 0.0) / n : 0.0;
  double squares = 0;
  for (const double v : x) squares += (v - mean) * (v - mean);
  Row y;
  for (size_t i = 0; i < x.size(); ++i) {
    const double z = (x[i] - mean) / std::sqrt(squares / n + double(norm.epsilon));
    y.push_back(z * double(norm.weight[i]) + (centres ? double(norm.bias[i]) : 0.0));
  }
  return y;
}

inline Row reference_linear(const Linear& linear, const Row& x) {
  Row y;
  for (int64_t r = 0; r < linear.out; ++r) {
    double sum = linear.bias.empty() ? 0.0 : double(linear.bias[size_t(r)]);
    for (size_t c = 0; c < x.size(); ++c) sum += double(linear.weight.row(r)[c]) * x[c];
    y.push_back(sum);
  }
  return y;
}

inline Row reference_linears(const std::vector<Linear>& linears, const Row& x) {
  Row y;
  for (const Linear& linear : linears) {
    const Row part = reference_linear(linear, x);
    y.insert(y.end(), part.begin(), part.end());
  }
  return y;
}

inline double reference_activation(Activation activation, double x) {
  switch (activation) {
    case Activation::kSilu:
      return x / (1 + std::exp(-x));
    case Activation::kGelu:
      return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
    case Activation::kGeluTanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Activation::kRelu:
      return std::max(x, 0.0);
  }
  return 0;
}

// The vector of head `head` of those that lie side by side in `row`, normalised and rotated.
inline Row reference_head(const DecoderConfig& config, const Row& row, int64_t head, const Norm& norm,
                          int64_t position) {
  Row v(row.begin() + head * config.head_dim, row.begin() + (head + 1) * config.head_dim);
  if (norm.exists()) v = reference_norm(norm, v);
  const auto half = size_t(config.rope.dimensions / 2);
  for (size_t i = 0; i < half; ++i) {
    const double angle = double(position) * double(config.rope.frequencies[i]);
    const double a = v[i], b = v[i + half];
    v[i] = a * std::cos(angle) - b * std::sin(angle);
    v[i + half] = b * std::cos(angle) + a * std::sin(angle);
  }
  return v;
}

inline double dot(const Row& a, const Row& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

// What attention's output layer reads, of one sequence.
inline Rows reference_context(const DecoderLayer& layer, const Rows& qkv) {
  const DecoderConfig& config = *layer.config;
  const int64_t window = config.windows[size_t(layer.index)];
  Rows contexts(qkv.size());
  for (int64_t h = 0; h < config.heads; ++h) {
    const int64_t k_head = config.heads + h / (config.heads / config.kv_heads);
    for (int64_t i = 0; i < int64_t(qkv.size()); ++i) {
      const Row q = reference_head(config, qkv[size_t(i)], h, layer.q_norm, i);
      Row context(size_t(config.head_dim));
      double total = 0;
      for (int64_t j = window > 0 ? std::max<int64_t>(0, i - window + 1) : 0; j <= i; ++j) {
        const Row& row = qkv[size_t(j)];
        const Row k = reference_head(config, row, k_head, layer.k_norm, j);
        const double p = std::exp(double(config.attention_scales[size_t(layer.index)]) * dot(q, k));
        total += p;
        for (int64_t d = 0; d < config.head_dim; ++d)
          context[size_t(d)] += p * row[size_t((k_head + config.kv_heads) * config.head_dim + d)];
      }
      for (const double v : context) contexts[size_t(i)].push_back(v / total);
    }
  }
  return contexts;
}

inline Row reference_expert(const DecoderConfig& config, const FeedForward& expert, const Row& x) {
  const Row expanded = reference_linears(expert.expanding, x);
  Row inner;
  for (size_t c = 0; c < size_t(config.inner); ++c) {
    inner.push_back(reference_activation(config.activation, expanded[c]) *
                    (config.family->is_gated ? expanded[c + size_t(config.inner)] : 1.0));
  }
  return reference_linear(expert.contracting, inner);
}

inline Row reference_feed_forward(const DecoderLayer& layer, const Row& x) {
  const DecoderConfig& config = *layer.config;
  if (!config.has_experts()) return reference_expert(config, layer.experts[0], x);
  const Row logits = reference_linear(layer.router, x);
  std::vector<size_t> order(logits.size());
  std::iota(order.begin(), order.end(), size_t(0));
  std::ranges::sort(order, [&](size_t a, size_t b) { return logits[a] > logits[b]; });
  order.resize(size_t(config.experts_per_token));
  double total = 0;
  for (const size_t e : order) total += std::exp(logits[e]);
  Row y(x.size());
  for (const size_t e : order) {
    const Row part = reference_expert(config, layer.experts[e], x);
    for (size_t c = 0; c < y.size(); ++c) y[c] += std::exp(logits[e]) / total * part[c];
  }
  return y;
}

inline Row sum_of(const Row& a, const Row& b) {
  Row y = a;
  for (size_t i = 0; i < y.size(); ++i) y[i] += b[i];
  return y;
}

// One sequence.
inline Rows reference_sequence(const DecoderLayer& layer, const Rows& x) {
  const bool after = layer.config->norms_after;
  Rows qkv, y;
  for (const Row& row : x)
    qkv.push_back(reference_linears(layer.qkv, after ? row : reference_norm(layer.attention_norm, row)));
  const Rows contexts = reference_context(layer, qkv);
  for (size_t t = 0; t < x.size(); ++t) {
    Row middle = sum_of(x[t], reference_linear(layer.output, contexts[t]));
    if (after) middle = reference_norm(layer.attention_norm, middle);
    const Row input = after ? middle : reference_norm(layer.feed_forward_norm, middle);
    const Row sum = sum_of(middle, reference_feed_forward(layer, input));
    y.push_back(after ? reference_norm(layer.feed_forward_norm, sum) : sum);
  }
  return y;
}

// y [tokens, width], row by row, of x [tokens, width].
inline Row reference_layer(const DecoderLayer& layer, const Sequences& sequences, const float* x) {
  const int64_t width = layer.config->width;
  Row y;
  for (int64_t s = 0; s < sequences.count(); ++s) {
    Rows rows;
    for (int64_t t = sequences.begin(s); t < sequences.begin(s + 1); ++t)
      rows.emplace_back(x + t * width, x + (t + 1) * width);
    for (const Row& row : reference_sequence(layer, rows)) y.insert(y.end(), row.begin(), row.end());
  }
  return y;
}

}  // namespace prune::testing
