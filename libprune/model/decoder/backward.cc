#include "libprune/model/decoder/backward.h"

#include <algorithm>
#include <utility>
#include <vector>

#include <omp.h>

namespace prune {
namespace {

// Sums of columns, by columns: threads need no sums of their own.
void add_column_sums(const float* dy, int64_t lddy, int64_t n, std::vector<float>& sums) {
  constexpr int64_t kColumns = 16;
  const auto width = static_cast<int64_t>(sums.size());
#pragma omp parallel for
  for (int64_t first = 0; first < width; first += kColumns) {
    const int64_t last = std::min(first + kColumns, width);
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t c = first; c < last; ++c) sums[size_t(c)] += dy[i * lddy + c];
    }
  }
}

void add(const FloatMatrix& from, float* to) {
#pragma omp parallel for
  for (int64_t i = 0; i < from.size(); ++i) to[i] += from.data()[i];
}

void copy(const float* from, int64_t n, float* to) {
#pragma omp parallel for simd
  for (int64_t i = 0; i < n; ++i) to[i] = from[i];
}

// dX [n, in], over or added, = dY [n, out] W.
void input_backward(const Linear& linear, const GemmOperand& dy, int64_t n, float* dx, Write write) {
  if (!linear.leaves_out(n)) {
    const Gemm shape{.m = n,
                     .n = linear.in,
                     .k = linear.out,
                     .beta = write == Write::kAdd ? 1.0F : 0.0F,
                     .precision = linear.precision};
    return gemm(shape, dy, linear.operand(), dx, linear.in);
  }
  const kernels::MaskedPlan& product = linear.masked->backward;
  if (write == Write::kOver) return product.run({dy.floats, dy.ld, dx, linear.in, n});
  thread_local FloatMatrix summand;  // sparse products only write over
  summand.resize(n, linear.in);
  product.run({dy.floats, dy.ld, summand.data(), linear.in, n});
  add(summand, dx);
}

// For linears whose outputs lie side by side: dX from dY, or no dX where it is null.
void project_backward(std::span<const Linear> linears, const FloatMatrix& x, const FloatMatrix& dy,
                      FloatMatrix* dx, std::span<LinearGradient> gradients) {
  if (dx != nullptr) dx->resize(x.rows(), x.cols());
  thread_local Bf16Memory x_memory, dy_memory;
  const Precision precision = linears.front().precision;
  const GemmOperand inputs = gemm_operand(x.data(), x.cols(), x.rows(), x.cols(), precision, x_memory);
  const GemmOperand slopes = gemm_operand(dy.data(), dy.cols(), dy.rows(), dy.cols(), precision, dy_memory);
  int64_t column = 0;
  for (size_t i = 0; i < linears.size(); ++i) {
    linear_backward(linears[i], inputs, slopes.from_column(column), x.rows(),
                    dx == nullptr ? nullptr : dx->data(), i == 0 ? Write::kOver : Write::kAdd, gradients[i]);
    column += linears[i].out;
  }
}

// Gradients of the norms of heads, as one thread sums them.
struct HeadNormGradients {
  explicit HeadNormGradients(const LayerGradients& whole)
      : q(whole.q_norm.weight.size()), k(whole.k_norm.weight.size()) {}

  void add_to(LayerGradients& whole) const {
    for (size_t i = 0; i < q.size(); ++i) whole.q_norm.weight[i] += q[i];
    for (size_t i = 0; i < k.size(); ++i) whole.k_norm.weight[i] += k[i];
  }

  std::vector<float> q, k;
};

// Undoes norms of heads and rotation, in place: from the gradients of what attention read to those of what q,
// k and v gave.
void place_heads_backward(const DecoderLayer& layer, const RopeTable& rope, const Sequences& sequences,
                          const LayerActivations& a, FloatMatrix& dqkv, LayerGradients& gradients) {
  const DecoderConfig& config = *layer.config;
  const bool has_norms = layer.q_norm.exists();
  const int threads = omp_get_max_threads();
  std::vector<HeadNormGradients> partials(static_cast<size_t>(threads), HeadNormGradients(gradients));
#pragma omp parallel num_threads(threads)
  {
    HeadNormGradients& partial = partials[size_t(omp_get_thread_num())];
#pragma omp for schedule(static)
    for (int64_t t = 0; t < sequences.tokens(); ++t) {
      const int64_t position = sequences.position(t);
      for (int64_t h = 0; h < config.heads + config.kv_heads; ++h) {
        float* slope = dqkv.row(t) + h * config.head_dim;
        if (rope.half() > 0) rope.rotate_back(slope, position);
        if (!has_norms) continue;
        const bool is_query = h < config.heads;
        norm_backward(is_query ? layer.q_norm : layer.k_norm, a.qkv_plain.row(t) + h * config.head_dim, slope,
                      slope, (is_query ? partial.q : partial.k).data(), nullptr);
      }
    }
  }
  for (const HeadNormGradients& partial : partials) partial.add_to(gradients);
}

// The rows of an expert's tokens, times its share of each.
void gather_scaled(const FeedForwardActivations& expert, const float* dy, FloatMatrix& rows) {
  for (int64_t i = 0; i < rows.rows(); ++i) {
    const float* from = dy + expert.tokens[size_t(i)] * rows.cols();
    const float share = expert.shares[size_t(i)];
    for (int64_t c = 0; c < rows.cols(); ++c) rows.row(i)[c] = share * from[c];
  }
}

// One backward pass; the members are what its parts share.
class LayerBackward {
 public:
  LayerBackward(const DecoderLayer& layer, const RopeTable& rope, const Sequences& sequences, const float* x,
                const LayerActivations& activations, BackwardBuffers& buffers, LayerGradients& gradients)
      : layer_(layer),
        config_(*layer.config),
        rope_(rope),
        sequences_(sequences),
        x_(x),
        a_(activations),
        b_(buffers),
        g_(gradients) {}

  void run(const float* dy, float* dx) {
    feed_forward(dy);
    attention(dx);
  }

 private:
  // From dy to the gradient of the hidden state between the halves, in b_.middle.
  void feed_forward(const float* dy) {
    const int64_t n = sequences_.tokens();
    b_.middle.resize(n, config_.width);
    const FloatMatrix& dsum = b_.middle;  // goes on to both summands
    if (config_.norms_after) {
      norm_backward(layer_.feed_forward_norm, a_.feed_forward_sum.data(), dy, b_.middle.data(), n,
                    Write::kOver, g_.feed_forward_norm);
    } else {
      copy(dy, b_.middle.size(), b_.middle.data());
    }
    if (config_.has_experts()) {
      experts(dsum);
    } else {
      expert(0, a_.feed_forward_input, dsum, b_.input);
    }
    if (config_.norms_after) {
      add(b_.input, b_.middle.data());
    } else {
      norm_backward(layer_.feed_forward_norm, a_.middle.data(), b_.input.data(), b_.middle.data(), n,
                    Write::kAdd, g_.feed_forward_norm);
    }
  }

  void expert(size_t e, const FloatMatrix& input, const FloatMatrix& doutput, FloatMatrix& dinput) {
    const FeedForward& weights = layer_.experts[e];
    project_backward({&weights.contracting, 1}, a_.experts[e].inner, doutput, &b_.inner,
                     {&g_.experts[e].contracting, 1});
    activate_backward(config_.activation, config_.family->is_gated, a_.experts[e].expanded, b_.inner,
                      b_.expanded);
    project_backward(weights.expanding, input, b_.expanded, &dinput, g_.experts[e].expanding);
  }

  // sum_t += share_te output_te, with shares_t = softmax of the chosen logits.
  void experts(const FloatMatrix& dsum) {
    b_.input.resize(dsum.rows(), config_.width);
    b_.router.resize(dsum.rows(), config_.experts);
    std::fill_n(b_.input.data(), b_.input.size(), 0.0F);
    std::fill_n(b_.router.data(), b_.router.size(), 0.0F);
    for (size_t e = 0; e < layer_.experts.size(); ++e) {
      const FeedForwardActivations& sent = a_.experts[e];
      b_.output.resize(sent.output.rows(), config_.width);
      gather_scaled(sent, dsum.data(), b_.output);
      expert(e, sent.input, b_.output, b_.expert_input);
      for (size_t i = 0; i < sent.tokens.size(); ++i) {
        const int64_t t = sent.tokens[i];
        const float *from = b_.expert_input.row(int64_t(i)), *output = sent.output.row(int64_t(i)),
                    *slope = dsum.row(t);
        float dshare = 0;
        for (int64_t c = 0; c < config_.width; ++c) {
          b_.input.row(t)[c] += from[c];
          dshare += slope[c] * output[c];
        }
        b_.router.row(t)[e] = dshare;
      }
    }
    router();
  }

  // From dshares to dlogits, in place, and on to the router's input and weights.
  void router() {
    for (int64_t t = 0; t < b_.router.rows(); ++t) {
      const float* shares = a_.router_shares.row(t);
      float* slope = b_.router.row(t);
      float sum = 0;
      for (int64_t e = 0; e < config_.experts; ++e) sum += shares[e] * slope[e];
      for (int64_t e = 0; e < config_.experts; ++e) slope[e] = shares[e] * (slope[e] - sum);
    }
    linear_backward(layer_.router, {a_.feed_forward_input.data(), config_.width},
                    {b_.router.data(), config_.experts}, b_.router.rows(), b_.input.data(), Write::kAdd,
                    g_.router);
  }

  // From b_.middle to dx.
  void attention(float* dx) {
    const int64_t n = sequences_.tokens();
    if (config_.norms_after) {
      norm_backward(layer_.attention_norm, a_.attention_sum.data(), b_.middle.data(), b_.middle.data(), n,
                    Write::kOver, g_.attention_norm);
    }
    project_backward({&layer_.output, 1}, a_.context, b_.middle, &b_.context, {&g_.output, 1});
    b_.qkv.resize(n, config_.qkv_width());
    attend_backward(layer_.attention_shape(), sequences_, a_.qkv.data(), b_.context.data(), b_.qkv.data());
    if (layer_.q_norm.exists() || rope_.half() > 0)
      place_heads_backward(layer_, rope_, sequences_, a_, b_.qkv, g_);
    const bool needs_input = dx != nullptr || !config_.norms_after;  // a norm before has weights
    project_backward(layer_.qkv, a_.attention_input, b_.qkv, needs_input ? &b_.input : nullptr, g_.qkv);
    if (dx != nullptr) copy(b_.middle.data(), b_.middle.size(), dx);
    if (!config_.norms_after) {
      norm_backward(layer_.attention_norm, x_, b_.input.data(), dx, n, Write::kAdd, g_.attention_norm);
    } else if (dx != nullptr) {
      add(b_.input, dx);
    }
  }

  const DecoderLayer& layer_;
  const DecoderConfig& config_;
  const RopeTable& rope_;
  const Sequences& sequences_;
  const float* x_;
  const LayerActivations& a_;
  BackwardBuffers& b_;
  LayerGradients& g_;
};

}  // namespace

void linear_backward(const Linear& linear, const GemmOperand& x, const GemmOperand& dy, int64_t n, float* dx,
                     Write write, LinearGradient& gradient) {
  const bool is_stale = std::exchange(gradient.is_stale, false);
  // An expert may have no token: nothing would be written over, and its inputs may never have had memory.
  if (n == 0) {
    if (is_stale) std::fill_n(gradient.weight.data(), gradient.weight.size(), 0.0F);
    return;
  }
  Gemm shape{.m = linear.out, .n = linear.in, .k = n, .transpose_a = Transpose::kYes};
  shape.beta = is_stale ? 0.0F : 1.0F;
  shape.precision = linear.precision;
  gemm(shape, dy, x, gradient.weight.data(), linear.in);
  if (!gradient.bias.empty()) add_column_sums(dy.floats, dy.ld, n, gradient.bias);
  if (dx != nullptr) input_backward(linear, dy, n, dx, write);
}

void backward_layer(const DecoderLayer& layer, const RopeTable& rope, const Sequences& sequences,
                    const float* x, const LayerActivations& activations, const float* dy, float* dx,
                    BackwardBuffers& buffers, LayerGradients& gradients) {
  LayerBackward(layer, rope, sequences, x, activations, buffers, gradients).run(dy, dx);
}

}  // namespace prune
