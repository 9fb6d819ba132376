#include "libprune/model/decoder/router.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

namespace prune {
namespace {

// Logits to shares, in place.
void choose(float* logits, int64_t experts, int64_t chosen, std::vector<int64_t>& order) {
  order.resize(size_t(experts));
  std::iota(order.begin(), order.end(), int64_t(0));
  const auto key = [&](int64_t e) {
    return std::isnan(logits[e]) ? -INFINITY : logits[e];
  };  // sorts need order
  std::ranges::stable_sort(order, std::greater<>(), key);
  const float largest = logits[order[0]];
  float sum = 0;
  for (int64_t i = 0; i < chosen; ++i) {
    float& share = logits[order[size_t(i)]];
    share = std::exp(share - largest);
    sum += share;
  }
  for (int64_t i = 0; i < experts; ++i) {
    float& share = logits[order[size_t(i)]];
    share = i < chosen ? share / sum : 0;
  }
}

}  // namespace

void route(const DecoderConfig& config, const Linear& router, const FloatMatrix& x, FloatMatrix& shares,
           std::vector<FeedForwardActivations>& experts) {
  shares.resize(x.rows(), config.experts);
  router.forward(x.data(), x.cols(), shares.data(), config.experts, x.rows());
  std::vector<int64_t> order;
  for (FeedForwardActivations& expert : experts) {
    expert.tokens.clear();
    expert.shares.clear();
  }
  for (int64_t t = 0; t < x.rows(); ++t) {
    choose(shares.row(t), config.experts, config.experts_per_token, order);
    for (int64_t i = 0; i < config.experts_per_token; ++i) {
      FeedForwardActivations& expert = experts[size_t(order[size_t(i)])];
      expert.tokens.push_back(t);
      expert.shares.push_back(shares.row(t)[order[size_t(i)]]);
    }
  }
  for (FeedForwardActivations& expert : experts) {
    expert.input.resize(int64_t(expert.tokens.size()), x.cols());
    for (size_t i = 0; i < expert.tokens.size(); ++i) {
      const float* row = x.row(expert.tokens[i]);
      std::copy(row, row + x.cols(), expert.input.row(int64_t(i)));
    }
  }
}

void add_expert(const FeedForwardActivations& expert, FloatMatrix& sum) {
  for (size_t i = 0; i < expert.tokens.size(); ++i) {
    const float* from = expert.output.row(int64_t(i));
    float* to = sum.row(expert.tokens[i]);
    for (int64_t c = 0; c < sum.cols(); ++c) to[c] += expert.shares[i] * from[c];
  }
}

}  // namespace prune
